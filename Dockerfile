# Build the image with `docker build -t pydns:0.1.0 .`. To build one image for amd64 and arm64:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example/dns/pydns:0.1.0 --push .
#
# The build compiles modules of pydns (hatch_build.py). This takes one to three minutes, and longer if the processor is
# emulated. `--build-arg COMPILE=0` leaves it out: the image then works the same, and takes more CPU time per query.
#
# At run time, pydns must be able to write to /var/lib/pydns. It needs no root user, no capability and no shell.
#
# The digest belongs to the Docker Official Image of August 2026 with CPython 3.11.16. Every fix of Debian or Python
# gives the image a new digest. `docker buildx imagetools inspect python:3.11-slim-bookworm` prints the current digest.
ARG PYTHON=python:3.11-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b

FROM ${PYTHON} AS build
ARG COMPILE=1
# hadolint ignore=DL3008
RUN ["sh", "-c", "apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev"]
WORKDIR /build
RUN ["python", "-m", "venv", "/tools"]
COPY image/build.lock .
RUN ["/tools/bin/pip", "install", "--no-cache-dir", "--no-compile", "--require-hashes", "--no-deps", \
     "--only-binary=:all:", "--requirement=build.lock"]
COPY requirements.lock .
RUN ["pip", "install", "--no-cache-dir", "--no-compile", "--require-hashes", "--no-deps", "--only-binary=:all:", \
     "--target=/opt/pydns", "--requirement=requirements.lock"]
COPY README.md hatch_build.py pyproject.toml ./
COPY pydns pydns
# Remove the asyncio client (41 MB). The lock doesn't contain the distributions that only this client needs.
RUN ["rm", "-r", "/opt/pydns/kubernetes/aio"]
ENV HATCH_BUILD_HOOK_ENABLE_CUSTOM=${COMPILE}
RUN ["/tools/bin/pip", "install", "--no-cache-dir", "--no-compile", "--no-deps", "--no-build-isolation", \
     "--target=/opt/pydns", "."]
COPY zones /usr/share/pydns/zones
# Python doesn't compare bytecode with the sources at run time, because the sources can't change there.
RUN ["python", "-m", "compileall", "-q", "-j0", "--invalidation-mode=unchecked-hash", "/opt/pydns"]
WORKDIR /state

FROM ${PYTHON}
RUN ["pip", "uninstall", "--yes", "--root-user-action=ignore", "setuptools", "wheel", "pip"]
COPY image/pydns /usr/local/bin/pydns
# The base image lacks the standard library's bytecode. To compile it at every start would take seconds of CPU time.
# Skip the half of the library that pydns never imports.
RUN ["python", "-m", "compileall", "-q", "-j0", "--invalidation-mode=unchecked-hash", \
     "-x", "/(ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo)/", "/usr/local/lib/python3.11"]
COPY --from=build /opt/pydns /opt/pydns
COPY --from=build /usr/share/pydns /usr/share/pydns
COPY --from=build --chown=65532:65532 /state /var/lib/pydns
ENV PYTHONPATH=/opt/pydns \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
EXPOSE 53/udp 53/tcp 8080/tcp 8181/tcp 9153/tcp
ENTRYPOINT ["pydns"]
CMD ["serve"]

ARG PYTHON
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="pydns" \
      org.opencontainers.image.description="Service-aware cluster DNS server for Kubernetes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${PYTHON}"
