"""A page of another origin on the same machine: whatever it tries, the laptop cloud does nothing for it."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.integration.conftest import Service
from tests.shipped import FIRST

# Each attempt in its own words; the result is what a page can read of a response.
ATTEMPTS = """
async ({api, aws, secret}) => {
  const tell = promise => promise.then(answer => answer.text()).catch(error => String(error));
  const target = name => ({'X-Amz-Target': name, 'Content-Type': 'application/x-amz-json-1.1'});
  const body = JSON.stringify({prompt: 'of another origin'});
  const results = {
    read: await tell(fetch(api + '/models')),
    generate: await tell(fetch(api + '/generate', {method: 'POST', body})),
    generateAsJson: await tell(
      fetch(api + '/generate', {method: 'POST', body, headers: {'Content-Type': 'application/json'}})),
    generateBlindly: await tell(fetch(api + '/generate', {method: 'POST', mode: 'no-cors', body})),
    secret: await tell(fetch(aws + '/', {
      method: 'POST', body: JSON.stringify({SecretId: secret}), headers: target('secretsmanager.GetSecretValue')})),
    secretByQuery: await tell(fetch(aws + '/?Action=GetSecretValue&Version=2017-10-17&SecretId=' + secret)),
    functions: await tell(fetch(aws + '/2015-03-31/functions/')),
    buckets: await tell(fetch(aws + '/')),
    reset: await tell(fetch(aws + '/_ministack/reset', {method: 'POST', mode: 'no-cors'})),
  };
  navigator.sendBeacon(api + '/generate', body);
  const frame = document.createElement('iframe');
  frame.name = 'frame';
  document.body.append(frame);
  const form = document.createElement('form');
  Object.assign(form, {action: api + '/generate', method: 'POST', enctype: 'text/plain', target: 'frame'});
  const field = document.createElement('input');
  field.name = '{"prompt": "of another origin", "x';
  field.value = '": 1}';
  form.append(field);
  document.body.append(form);
  form.submit();
  results.socket = await new Promise(resolve => {
    const socket = new WebSocket(api.replace('http', 'ws'));
    socket.onopen = () => resolve('open');
    socket.onerror = () => resolve('refused');
  });
  await new Promise(resolve => { frame.onload = resolve; setTimeout(resolve, 3000); });
  return results;
}
"""


@pytest.fixture
def other_origin() -> Iterator[str]:
    """The URL of an empty page on another port of this machine."""

    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Another page</title>")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_of_another_origin_reads_no_secret_and_starts_no_job(
    browser: Browser, service: Service, other_origin: str
) -> None:
    endpoints = service.cloud.endpoints
    before = service.keys("")
    context = browser.new_context()
    page = context.new_page()
    page.goto(other_origin)
    asked = {"api": endpoints["api"], "aws": endpoints["aws"], "secret": endpoints["providerSecret"]}
    results = page.evaluate(ATTEMPTS, asked)
    # A navigation has no Origin to refuse; what a GET returns is not for the page that began it.
    address = other_origin.replace("127.0.0.1", "localhost")
    page.goto(address)
    from_localhost = page.evaluate(ATTEMPTS, asked)
    context.close()
    for result in (results, from_localhost):
        assert result.pop("generateBlindly") == result.pop("reset") == "", "a page can't read an opaque response"
        assert result.pop("socket") == "refused"
        assert set(result.values()) == {"TypeError: Failed to fetch"}
    assert service.keys("") == before
    machine = endpoints["stateMachineArn"]
    executions = service.cloud.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
    assert not [e for e in executions if e["name"] not in "".join(before)]
    # Its own page goes on, and so do the commands.
    assert service.run("a red fox", models=[FIRST.id])["status"] == "completed"
