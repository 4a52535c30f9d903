# dts, event-worker and event-log as an image. Not run here: made where no container engine is.
# Checked with hadolint; that the libraries are linked in was seen on a Debian 12 without an engine.
#
#   docker build --build-arg DBEVENT_COMMIT="$(git rev-parse --short=12 HEAD)" -t dbevent .
#   docker run --rm dbevent dts --help

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
# librdkafka, OpenSSL and zlib are linked in. The C library is not: a static one cannot look names up
# without the same C library beside it.
RUN export LIBZ_SYS_STATIC=1 OPENSSL_STATIC=1 OPENSSL_INCLUDE_DIR=/usr/include && \
    OPENSSL_LIB_DIR="/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)" && \
    export OPENSSL_LIB_DIR && \
    cargo build --locked --release -p dts -p event-worker -p event-log && \
    install -D -t /programs target/release/dts target/release/event-worker \
        target/release/event-log

# An exec handler needs its own interpreter: build FROM this image and add it.
FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /data --create-home dbevent
COPY --from=build /programs/ /usr/local/bin/
USER 10001
WORKDIR /data
VOLUME /data
CMD ["dts", "--help"]
