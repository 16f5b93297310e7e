# Landfall with its production dependencies on Debian's Node 24.
#
#   docker build -t landfall .
#   docker run -p 1080:1080 -v landfall:/data --name landfall landfall
#   docker exec landfall landfall config     # any command of docs/cli.md
#
# It takes uploads from everywhere and serves no operator API. To have that one:
#   docker run -e LANDFALL_ADMIN=on -e LANDFALL_ADMIN_TOKEN=... (at least 16 characters)
# All settings: docs/configuration.md

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund

FROM node:24-slim AS page
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY web ./web
RUN node web/build.ts

FROM node:24-slim
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=page /app/web/dist ./web/dist
COPY package.json LICENSE ./
COPY processors ./processors
COPY stores ./stores
COPY server ./server
COPY client ./client
COPY cli ./cli
COPY bin ./bin
RUN ln -s /app/bin/landfall.js /usr/local/bin/landfall

# What previews are made with: posters of videos, smaller PDFs, and an allocator that gives the memory of large images
# back, where glibc keeps it. Without the first two there are only fewer previews.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg ghostscript libjemalloc2 \
    && rm -rf /var/lib/apt/lists/*

# The port is set here as well, so that the health check and the server always mean the same one. Without a token
# the server would refuse to bind to 0.0.0.0 while its operator API is on.
ENV NODE_ENV=production \
    LANDFALL_HOST=0.0.0.0 \
    LANDFALL_PORT=1080 \
    LANDFALL_DATA_DIR=/data \
    LANDFALL_ADMIN=off

# A new volume takes its owner from here.
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 1080

# Its default of 10 s before SIGKILL is also LANDFALL_SHUTDOWN_GRACE's: with a longer one, pass `docker stop -t` too.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.LANDFALL_PORT + '/health/live').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]

# Node itself is process 1, so that SIGTERM reaches it: npm would swallow it.
CMD ["node", "server/main.ts"]
