"""Fills the index t from the table bench.t: what a user would write, in 20 lines."""

import json
import sys

import pymysql
from opensearchpy import OpenSearch, helpers

mysql, search = sys.argv[1:]
host, port = mysql.split(":")
connection = pymysql.connect(
    host=host, port=int(port), user="root", cursorclass=pymysql.cursors.SSDictCursor
)
client = OpenSearch(f"http://{search}")


def actions(rows):
    for row in rows:
        row["c"], row["d"], row["e"] = str(row["c"]), str(row["d"]), json.loads(row["e"])
        yield {"_index": "t", "_id": row["id"], "_source": row}


with connection.cursor() as cursor:
    cursor.execute("SELECT * FROM bench.t")
    done = helpers.parallel_bulk(client, actions(cursor), thread_count=4, chunk_size=1000)
    for succeeded, answer in done:
        if not succeeded:
            sys.exit(str(answer))
