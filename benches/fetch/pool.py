#!/usr/bin/env python3
"""Fetches URL/items/1 to N with a ThreadPoolExecutor, and writes what came, in order, as CSV.

usage: pool.py URL N WORKERS OUT requests|urllib3
"""
import csv, json, sys
from concurrent.futures import ThreadPoolExecutor


def main():
    url, n, workers, out, library = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    get = {"requests": with_requests, "urllib3": with_urllib3}[library](workers)
    with ThreadPoolExecutor(workers) as pool, open(out, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "value"])
        for item in pool.map(lambda number: get(f"{url}/items/{number}"), range(1, n + 1)):
            writer.writerow([item["id"], item["value"]])


def with_requests(workers):
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=workers))

    def get(url):
        answer = session.get(url)
        answer.raise_for_status()
        return answer.json()

    return get


def with_urllib3(workers):
    import urllib3

    pool = urllib3.PoolManager(maxsize=workers)

    def get(url):
        answer = pool.request("GET", url)
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status}")
        return json.loads(answer.data)

    return get


if __name__ == "__main__":
    main()
