"""CloudFormation, as a server of canned answers plays it."""

from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

from tests.canned import Answer, Asked


def stacks(outputs: Mapping[str, Mapping[str, str]]) -> Callable[[Asked], Answer]:
    """CloudFormation with these stacks, by their outputs."""

    def answer(asked: Asked) -> Answer:
        name = parse_qs(asked.body.decode())["StackName"][0]
        if name not in outputs:
            error = f"<Code>ValidationError</Code><Message>Stack with id {name} does not exist</Message>"
            return Answer(400, f"<ErrorResponse><Error>{error}</Error></ErrorResponse>".encode())
        listed = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in outputs[name].items()
        )
        stack = f"<member><StackName>{name}</StackName><Outputs>{listed}</Outputs></member>"
        result = f"<DescribeStacksResult><Stacks>{stack}</Stacks></DescribeStacksResult>"
        return Answer(content=f"<DescribeStacksResponse>{result}</DescribeStacksResponse>".encode())

    return answer
