// Shows the OpenAPI document of the sandbox in Swagger UI.
"use strict";

const dark = window.matchMedia("(prefers-color-scheme: dark)");

// The class is how the style sheet of Swagger UI is told.
function followScheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

dark.addEventListener("change", followScheme);
followScheme();
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", validatorUrl: null, tryItOutEnabled: true });
