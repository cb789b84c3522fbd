# A CPU image that runs the demo:
#   docker build -t nonlocal-video .
#   docker run --rm nonlocal-video                                   # the demo, eight to ten minutes on 2 cores
#   docker run --rm nonlocal-video bash run.sh predict               # the example network on its clip, seconds
#   docker run --rm -v "$PWD/videos:/videos" nonlocal-video python predict.py --video_path=/videos
# One that serves a page and an API (docs/serving.md):
#   docker build --target serve -t nonlocal-serve . && docker run --rm -p 127.0.0.1:8866:8866 nonlocal-serve
FROM python:3.11-slim AS base

# the OpenMP library that Paddle links to
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home user && mkdir /app && chown user /app
WORKDIR /app

# the packages first, so that a change of the code does not install them again
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN pip install --no-cache-dir -c requirements.lock . && rm -rf build *.egg-info

COPY --chown=user . .

FROM base AS serve
RUN pip install --no-cache-dir -c requirements.lock ".[serve]" && rm -rf build *.egg-info
USER user
EXPOSE 8866
# 401: it asks for the token, and is alive
HEALTHCHECK CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8866, timeout=9); c.request('GET', '/api/v1/health'); exit(c.getresponse().status not in (200, 401))"]
CMD ["python", "serve.py", "--host=0.0.0.0", "--token"]

FROM base
USER user
CMD ["bash", "run.sh", "demo"]
