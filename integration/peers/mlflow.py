"""Two models of MLflow's make, behind MLflow's own scoring server, until standard input ends.

`mlflow.py FOLDER ROWS` trains and saves FOLDER/price, a scikit-learn pipeline that gives a number, and FOLDER/taste,
a Python model that gives a frame; writes FOLDER/rows.json, so many rows with what the models say of all of them at
once; and prints the servers' addresses as one line of JSON.

The price of a kind that it was not trained on is a ValueError. Sugar may be missing, and then the taste is "unknown"
and its score NaN.
"""

import asyncio
import json
import os
import socket
import sys

import mlflow.pyfunc
import mlflow.sklearn
import numpy
import pandas
import uvicorn
from mlflow.models import infer_signature
from mlflow.pyfunc import scoring_server
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier


class Taste(mlflow.pyfunc.PythonModel):
    def __init__(self, tree):
        self.tree = tree

    def predict(self, context, model_input, params=None):
        known = model_input["sugar"].notna().to_numpy()
        chances = self.tree.predict_proba(model_input[["sugar", "year"]].fillna(0))
        return pandas.DataFrame(
            {
                "label": numpy.where(known, self.tree.classes_[chances.argmax(axis=1)], "unknown"),
                "score": numpy.where(known, chances.max(axis=1), numpy.nan),
            }
        )


def wines(count):
    random = numpy.random.default_rng(20)
    sugar = random.gamma(2, 5, count)
    sugar[::97] = numpy.nan
    year = random.integers(1950, 2026, count)
    return pandas.DataFrame({"sugar": sugar, "year": year, "kind": random.choice(["red", "white", "rosé"], count)})


def save(folder, count):
    rows = wines(count)
    sugar = rows["sugar"].fillna(0)
    price = make_pipeline(
        make_column_transformer((OneHotEncoder(sparse_output=False), ["kind"]), remainder="passthrough"),
        HistGradientBoostingRegressor(max_iter=50, random_state=1),
    ).fit(rows, (2026 - rows["year"]) ** 1.5 + sugar + 10 * (rows["kind"] == "red"))
    tree = DecisionTreeClassifier(max_leaf_nodes=12, random_state=1)
    noise = numpy.random.default_rng(21).normal(0, 3, count)
    taste = Taste(tree.fit(rows[["sugar", "year"]].fillna(0), numpy.where(sugar + noise > 12, "sweet", "dry")))
    prices, tastes = price.predict(rows), taste.predict(None, rows)
    mlflow.sklearn.save_model(
        price,
        os.path.join(folder, "price"),
        signature=infer_signature(rows, prices),
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
    mlflow.pyfunc.save_model(
        os.path.join(folder, "taste"),
        python_model=taste,
        signature=infer_signature(rows, tastes.dropna()),
        pip_requirements=["scikit-learn"],
    )
    columns = {
        "sugar": [None if numpy.isnan(value) else value for value in rows["sugar"].tolist()],
        "year": rows["year"].tolist(),
        "kind": rows["kind"].tolist(),
        "price": prices.tolist(),
        "label": tastes["label"].tolist(),
        "score": [None if numpy.isnan(value) else value for value in tastes["score"].tolist()],
    }
    with open(os.path.join(folder, "rows.json"), "w") as file:
        json.dump(columns, file)


async def serve(folder):
    servers, addresses = [], {}
    for name in ("price", "taste"):
        listener = socket.create_server(("127.0.0.1", 0))
        addresses[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = scoring_server.init(scoring_server.load_model(os.path.join(folder, name)))
        servers.append((uvicorn.Server(uvicorn.Config(app, log_level="error")), listener))
    running = [asyncio.ensure_future(server.serve(sockets=[listener])) for server, listener in servers]
    print(json.dumps(addresses), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*running)


if __name__ == "__main__":
    save(sys.argv[1], int(sys.argv[2]))
    asyncio.run(serve(sys.argv[1]))
