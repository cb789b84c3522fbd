# A CPU image that runs the demo:
#   docker build -t nonlocal-video .
#   docker run --rm nonlocal-video                                   # the demo, eight to ten minutes on 2 cores
#   docker run --rm nonlocal-video bash run.sh predict               # the example network on its clip, seconds
#   docker run --rm -v "$PWD/videos:/videos" nonlocal-video python predict.py --video_path=/videos
FROM python:3.11-slim

# the OpenMP library that Paddle links to
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home user && mkdir /app && chown user /app
WORKDIR /app

# the packages first, so that a change of the code does not install them again
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN pip install --no-cache-dir -c requirements.lock ".[fast]" && rm -rf build *.egg-info

USER user
COPY --chown=user . .
CMD ["bash", "run.sh", "demo"]
