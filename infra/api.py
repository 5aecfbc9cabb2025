"""The HTTP API in front of submit, status and enhance."""

import json
from typing import cast

from aws_cdk import Duration, Tags
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk.aws_apigatewayv2_authorizers import (
    HttpIamAuthorizer,
    HttpJwtAuthorizer,
    HttpLambdaAuthorizer,
    HttpLambdaResponseType,
)
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct, IConstruct

from infra.exceptions import acknowledge
from infra.functions import Functions
from infra.log_groups import ServiceLogGroup
from infra.settings import Settings
from pixelprompt.api.routes import deployed_routes

ACCESS_LOG_FORMAT = {
    "requestId": "$context.requestId",
    "requestTime": "$context.requestTime",
    "ip": "$context.identity.sourceIp",
    "routeKey": "$context.routeKey",
    "status": "$context.status",
    "latency": "$context.responseLatency",
    "integrationError": "$context.integrationErrorMessage",
}


# Routes that may cost money at a provider let through only this part of what the others do.
PAID_SHARE = 5
# The path of the API's description.
DESCRIPTION = "/openapi.json"
# A key that is disabled is still accepted for so long.
KEY_CACHE = Duration.seconds(30)


class Api(Construct):
    """The routes, their throttling and access logs.

    CORS is not configured here: preflights reach the catch-all route, and one place in the functions handles them.
    That route is open whatever ``apiAuth`` says: browsers send no credentials with a preflight. With API keys, so is
    the description of the API, which says how to send one.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings, functions: Functions) -> None:
        super().__init__(scope, id)
        status = HttpLambdaIntegration("Status", functions.status)
        self.http_api = apigatewayv2.HttpApi(
            self,
            "HttpApi",
            api_name=f"pixel-prompt-{settings.stage}",
            create_default_stage=False,
            default_integration=status,
        )
        if settings.api_url:
            # The emulator reads the id of an API from this tag.
            Tags.of(self.http_api).add("ms-custom-id", settings.api_url.rstrip("/").rpartition("/")[2])
        authorizer = _authorizer(settings, functions)
        routes: list[apigatewayv2.HttpRoute] = []
        by_name = {function.short_name: function for function in functions.all}
        integrations = {"status": status}
        deployed = deployed_routes(has_gallery=settings.has_gallery, has_usage=settings.has_charges)
        for route in deployed:
            if route.function not in integrations:
                integration = HttpLambdaIntegration(route.function.capitalize(), by_name[route.function])
                integrations[route.function] = integration
            is_open_to_all = settings.api_auth == "keys" and route.path == DESCRIPTION
            added_routes = self.http_api.add_routes(
                path=route.path,
                methods=[apigatewayv2.HttpMethod(route.method)],
                integration=integrations[route.function],
                authorizer=None if is_open_to_all else authorizer,
            )
            if is_open_to_all:
                for described in added_routes:
                    acknowledge(
                        described, "APIG4", "The description of the API says how to send a key, and has no data."
                    )
            routes += added_routes
        for open_route in self._open_routes(routes, authorizer):
            acknowledge(
                open_route,
                "APIG4",
                "Public on purpose: by the settings, or for preflights, which carry no credentials, and 404.",
            )
        access_logs = ServiceLogGroup(
            self, "AccessLogs", settings=settings, name=f"/aws/vendedlogs/apigateway/pixel-prompt-{settings.stage}"
        )
        self.stage = apigatewayv2.HttpStage(
            self,
            "Stage",
            http_api=self.http_api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigatewayv2.ThrottleSettings(
                rate_limit=settings.throttle_rate, burst_limit=settings.throttle_burst
            ),
        )
        stage = cast(apigatewayv2.CfnStage, self.stage.node.default_child)
        stage.access_log_settings = apigatewayv2.CfnStage.AccessLogSettingsProperty(
            destination_arn=access_logs.log_group_arn, format=json.dumps(ACCESS_LOG_FORMAT)
        )
        limits = {
            "ThrottlingRateLimit": max(1, settings.throttle_rate // PAID_SHARE),
            "ThrottlingBurstLimit": max(1, settings.throttle_burst // PAID_SHARE),
        }
        stage.route_settings = {route.key: limits for route in deployed if route.is_paid}
        # A route's settings can only name a route that is there.
        for added in routes:
            stage.add_resource_dependency(cast(apigatewayv2.CfnRoute, added.node.default_child))

    def _open_routes(
        self, routes: list[apigatewayv2.HttpRoute], authorizer: apigatewayv2.IHttpRouteAuthorizer | None
    ) -> list[IConstruct]:
        return [self.http_api.node.find_child("DefaultRoute"), *([] if authorizer else routes)]


def _authorizer(settings: Settings, functions: Functions) -> apigatewayv2.IHttpRouteAuthorizer | None:
    if functions.authorize:
        return HttpLambdaAuthorizer(
            "Keys",
            functions.authorize,
            response_types=[HttpLambdaResponseType.SIMPLE],
            # What is cached holds for all routes: the decision depends on the key only.
            identity_source=["$request.header.Authorization"],
            results_cache_ttl=KEY_CACHE,
        )
    if settings.api_auth == "iam":
        return HttpIamAuthorizer()
    if settings.api_auth == "jwt":
        return HttpJwtAuthorizer("Jwt", settings.jwt_issuer, jwt_audience=[settings.jwt_audience])
    return None
