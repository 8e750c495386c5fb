# The app with its weights, for any user, on a root that cannot be written.
#
#   docker build -t unimo-bids .                                    processors only
#   docker build --build-arg TORCH_BACKEND=cu128 -t unimo-bids .    with CUDA: PyTorch brings it along
#
# Any base with Python 3.11 or later and its venv module will do (--build-arg BASE_IMAGE=...).
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH_BACKEND=cpu
# as the tag of git says, which is not copied
ARG VERSION=0.1.0.dev0
# what --output-spaces will need, as it names them
ARG TEMPLATES=MNI152NLin2009cAsym:res-2
# where there is no index to ask: wheels from a folder (these reach pip and uv as variables)
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
ARG UV_OFFLINE
ARG UV_FIND_LINKS
# uv knows where PyTorch keeps its builds, and takes the one asked for
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --no-compile "uv>=0.8,<1" \
    && python3 -m venv --without-pip /opt/unimo-bids
ENV VIRTUAL_ENV=/opt/unimo-bids \
    TEMPLATEFLOW_HOME=/opt/templateflow
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
# what the app needs first: it changes less often than the app
RUN /opt/uv/bin/uv pip install --no-cache --torch-backend "$TORCH_BACKEND" \
        --constraint constraints.txt --requirement pyproject.toml --extra validate \
    # a fifth of all: what C++ programs need, the tests of others, and what the validator was made from
    # (-f: builds of PyTorch differ in what they hold)
    && rm -rf /opt/unimo-bids/lib/python3*/site-packages/torch/include \
        /opt/unimo-bids/lib/python3*/site-packages/torch/test \
        /opt/unimo-bids/lib/python3*/site-packages/bids_validator_deno/bids-validator.js.map \
    && find /opt/unimo-bids/lib/python3*/site-packages/torch/bin \
        -type f ! -name torch_shm_manager -delete \
    && find /opt/unimo-bids/lib/python3*/site-packages \
        -depth -type d -name tests ! -path "*/numpy/*" -exec rm -r {} +
COPY unimo_bids unimo_bids
# hadolint ignore=SC2086
RUN SETUPTOOLS_SCM_PRETEND_VERSION="$VERSION" \
    /opt/uv/bin/uv pip install --no-cache --no-deps . \
    # once, as a check, and to compile what is imported: all of it would be a sixth of the image
    && /opt/unimo-bids/bin/unimo-bids-demo /tmp/demo --frames 4 --run /tmp/derivatives \
    # without a network, TemplateFlow's list alone: a folder with templates can be mounted over it
    && { /opt/unimo-bids/bin/unimo-bids --fetch-templates $TEMPLATES || test -d /opt/templateflow; }

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0.dev0
LABEL org.opencontainers.image.title="unimo-bids" \
      org.opencontainers.image.description="Head-motion correction of 4D fMRI, above all of the fetal brain" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.authors="The unimo-bids developers"
COPY --from=build /opt/unimo-bids /opt/unimo-bids
COPY --from=build /opt/templateflow /opt/templateflow
# places to mount: on a root that cannot be written none can be made
RUN mkdir -p /data /out /work
# PYTHONNOUSERSITE: Singularity mounts the user's home, with the packages that lie in it
ENV PATH=/opt/unimo-bids/bin:$PATH \
    LANG=C.UTF-8 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=off \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /tmp
ENTRYPOINT ["unimo-bids"]
