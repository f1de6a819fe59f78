"""No server at all: decode and run, one photograph after another; prints the milliseconds of each as JSON.

python limit.py PHOTOS SECONDS WARM_S
"""

import json
import resource
import sys
import time
from pathlib import Path

from graph import Graph


def main(folder: str, seconds: float, warm_s: float) -> None:
    photos = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))]
    graph = Graph()
    began_s, turn, took_ms = time.perf_counter(), 0, []
    while (now_s := time.perf_counter()) < began_s + warm_s + seconds:
        graph.answer(photos[turn % len(photos)])
        if now_s >= began_s + warm_s:
            took_ms.append((time.perf_counter() - now_s) * 1000)
        turn += 1
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"latencies_ms": took_ms, "cpu_s": time.process_time(), "rss_mib": rss_mib}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
