# dts, event-worker and event-log as an image.
#
#   docker build --build-arg DBEVENT_COMMIT="$(git rev-parse --short=12 HEAD)" -t dbevent .
#   docker run --rm dbevent dts --help
#
# An exec handler brings its own interpreter: examples/container has an image with one.

# The compiler is the one that rust-toolchain.toml pins; rustup fetches it.
FROM rust:1-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
        pkg-config libssl-dev && \
    rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
# What --version names: the repository itself is left out of the image.
ARG DBEVENT_COMMIT
# The caches outlive a build: a changed line compiles its own crate and what stands on it.
# The names of functions are left out (-s), a fifth of the size: a panic says its place without them.
# librdkafka, OpenSSL and zlib are linked in. The C library is not: a static one cannot look names up
# without the same C library beside it.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/source/target,sharing=locked \
    export LIBZ_SYS_STATIC=1 OPENSSL_STATIC=1 OPENSSL_INCLUDE_DIR=/usr/include && \
    OPENSSL_LIB_DIR="/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" && \
    export OPENSSL_LIB_DIR && \
    cargo build --locked --release -p dts -p event-worker -p event-log-program && \
    install -s -D -t /programs target/release/dts target/release/event-worker \
        target/release/event-log

FROM debian:bookworm-slim
# The ids are fixed: who owns a volume does not change from image to image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    groupadd --system --gid 10001 dbevent && \
    useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/dbevent dbevent && \
    install -d -o dbevent -g dbevent -m 0700 /var/lib/dbevent /var/lib/dbevent/data
COPY --from=build /programs/ /usr/local/bin/
USER 10001:10001
# The paths of a config are meant from here: data/… is the volume.
WORKDIR /var/lib/dbevent
VOLUME /var/lib/dbevent/data
CMD ["dts", "--help"]
