"""HTTP: requests, responses, routes, CORS."""
