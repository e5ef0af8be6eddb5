FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY connectors connectors
COPY heatsync heatsync
COPY heatsync.yml heatsync.yml
COPY mappings mappings
COPY worker worker
RUN python -m venv /opt/heatsync \
    && /opt/heatsync/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt .

FROM python:3.13-slim
# A number, so that Kubernetes can see that it is not root.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin heatsync \
    && install --directory --owner heatsync /workspace /workspace/.heatsync
COPY --from=build /opt/heatsync /opt/heatsync
ENV PATH=/opt/heatsync/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEATSYNC_WORKSPACE=/workspace
USER 10001
WORKDIR /workspace
VOLUME /workspace/.heatsync
CMD ["heatsync", "--help"]
