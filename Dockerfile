# The image that conf/kubernetes runs: the static executables braid and braid-cluster, and nothing else.
# `scripts/image` builds it, also if there is no builder.

ARG RUST=1.91

FROM rust:${RUST}-bookworm AS build
WORKDIR /braid
COPY . .
# musl-tools: ring's part in C wants a compiler for musl.
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends musl-tools \
    && scripts/build

FROM scratch
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="braid" \
    org.opencontainers.image.description="A CNI meta-plugin that gives a pod its primary network and every extra network it asks for" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.authors="The Braid maintainers <maintainers@braid-cni.example>" \
    org.opencontainers.image.source="https://github.com/braid-cni/braid" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /braid/target/dist/braid /braid
COPY --from=build /braid/target/dist/braid-cluster /braid-cluster
COPY --from=build /braid/LICENSE /LICENSE
WORKDIR /
ENTRYPOINT ["/braid"]
