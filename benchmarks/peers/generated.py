"""Two clients that are generated from the sandbox's OpenAPI document when the benchmark starts.

openapi-generator runs on Java 11 or later, which has to be installed.
"""

import contextlib
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.peers import CONNECTIONS, TENANT, TOKEN, Calls, Draft, Peer
from connector_async.sandbox import Sandbox, WriteResponse

_GENERATORS: Final = {
    "connector_generated": (
        *("openapi-generator-cli", "generate", "-i", "openapi.json", "-g", "python", "--library", "asyncio"),
        *("-o", "out", "--package-name", "connector_generated"),
    ),
    "connector_public_api_client": (
        *("openapi-python-client", "generate", "--path", "openapi.json", "--config", "plain.yaml"),
        *("--output-path", "out"),
    ),
}
"""The package that each command makes."""


@contextlib.asynccontextmanager
async def generated(package: str) -> AsyncIterator[Any]:
    """Generate a package from the document of a sandbox, import it, and forget it at the end."""
    # The measured server responds to a write with the appointment.
    async with Sandbox(write_response=WriteResponse.APPOINTMENT) as sandbox, httpx.AsyncClient() as client:
        document = (await client.get(f"{sandbox.base_url}/openapi.json")).json()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
        (path / "plain.yaml").write_text("post_hooks: []\n", encoding="utf-8")  # without a formatter
        program, *arguments = _GENERATORS[package]
        command = [str(Path(sys.executable).with_name(program)), *arguments]
        subprocess.run(command, cwd=path, check=True, capture_output=True)  # noqa: ASYNC221 - nothing else is running
        sys.path.insert(0, str(path / "out"))
        try:
            yield importlib.import_module(package)
        finally:
            sys.path.remove(str(path / "out"))
            for name in [name for name in sys.modules if name.partition(".")[0] == package]:
                del sys.modules[name]


@contextlib.asynccontextmanager
async def _open_openapi_generator(base_url: str) -> AsyncIterator[Calls]:
    async with generated("connector_generated") as package:
        configuration = package.Configuration(host=base_url, access_token=TOKEN, retries=3)
        async with package.ApiClient(configuration) as client:
            api = package.DefaultApi(client)

            async def get(appointment_id: str) -> str:
                title: str = (await api.get_appointment(appointment_id, TENANT, TENANT)).title
                return title

            async def create(draft: Draft) -> str:
                new = package.NewAppointment(
                    title=draft.title,
                    startTime=draft.start_time,
                    endTime=draft.end_time,
                    description=draft.description,
                )
                title: str = (await api.create_appointment(TENANT, TENANT, new)).title
                return title

            yield Calls(get=get, create=create)


@contextlib.asynccontextmanager
async def _open_openapi_python_client(base_url: str) -> AsyncIterator[Calls]:
    async with generated("connector_public_api_client") as package:
        get_module = importlib.import_module(f"{package.__name__}.api.default.get_appointment")
        create_module = importlib.import_module(f"{package.__name__}.api.default.create_appointment")
        new_appointment = importlib.import_module(f"{package.__name__}.models").NewAppointment
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        options = {"limits": limits, "trust_env": False}
        async with package.AuthenticatedClient(base_url=base_url, token=TOKEN, httpx_args=options) as client:
            tenant = {"tenant_id_path": TENANT, "tenant_id_header": TENANT, "client": client}

            async def get(appointment_id: str) -> str:
                title: str = (await get_module.asyncio(appointment_id=appointment_id, **tenant)).title
                return title

            async def create(draft: Draft) -> str:
                new = new_appointment(
                    title=draft.title,
                    start_time=draft.start_time,
                    end_time=draft.end_time,
                    description=draft.description,
                )
                title: str = (await create_module.asyncio(body=new, **tenant)).title
                return title

            yield Calls(get=get, create=create)


OPENAPI_GENERATOR = Peer(
    name="openapi-generator, asyncio",
    features={"typed result": "checked", "auth": "static token", "retry": "not of a create"},
    open=_open_openapi_generator,
)
OPENAPI_PYTHON_CLIENT = Peer(
    name="openapi-python-client",
    features={"typed result": "unchecked", "auth": "static token"},
    open=_open_openapi_python_client,
)
