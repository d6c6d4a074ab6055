#!/usr/bin/env python3
"""Makes flights_2024.parquet of flights_2024.csv.gz, for pipelines/flights_index.toml.

    pip install duckdb && python3 data/flights_parquet.py
"""

import os

import duckdb

os.chdir(os.path.dirname(os.path.abspath(__file__)))
duckdb.sql(
    """
    COPY (
        SELECT row_number() OVER () AS flight, date, carrier, number::INTEGER AS number, origin, destination,
            distance_km::INTEGER AS distance_km, try_cast(arrival_delay AS INTEGER) AS arrival_delay, cancelled,
            aircraft, (distance_km * 0.0093)::DECIMAL(9, 3) AS fuel_t
        FROM read_csv('flights_2024.csv.gz')
    ) TO 'flights_2024.parquet' (FORMAT parquet, COMPRESSION zstd)
    """
)
