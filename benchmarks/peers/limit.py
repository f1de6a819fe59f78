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
    answers, answered, took_ms, cpu_s = 0, 0, [], time.process_time()
    began_s = time.perf_counter() + warm_s
    while (now_s := time.perf_counter()) < began_s + seconds:
        graph.answer(photos[answers % len(photos)])
        came_s = time.perf_counter()
        answers += 1
        answered += began_s <= came_s < began_s + seconds
        if now_s >= began_s:
            took_ms.append((came_s - now_s) * 1000)
    said = {
        "latencies_ms": took_ms,
        "answered": answered,
        "answers": answers,
        "cpu_s": time.process_time() - cpu_s,
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
