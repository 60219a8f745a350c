# The tasks of .ci/run by name, for those who have just (https://just.systems): `just lint types`. Without it, call
# `.ci/run lint types`.

# List the tasks.
default:
    @just --list

# Make .venv with the package and the developers' tools.
install:
    .ci/run install

# Correct what ruff can correct, and format.
format:
    .ci/run format

# Check style and format.
lint:
    .ci/run lint

# Check types with mypy and pyright.
types:
    .ci/run types

# Run the whole test suite.
test:
    .ci/run test

# Run every block of README.md and docs/.
docs:
    .ci/run docs

# Run the tests that use a state on two builds of PostgreSQL.
postgres:
    .ci/run postgres

# Build the site of docs/ into build/site.
site:
    .ci/run site

# Count instructions, and compare them with those of benchmarks/instructions.json.
instructions:
    .ci/run instructions

# Compare the public names with those of the newest tag.
api:
    .ci/run api

# Build what is published, check it, and try the wheel in clean environments.
release:
    .ci/run release

# Run everything that must pass before a merge, on every supported Python version.
ci:
    .ci/run
