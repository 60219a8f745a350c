// Shows the OpenAPI document of the sandbox in Swagger UI.
"use strict";

window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", validatorUrl: null, tryItOutEnabled: true });
