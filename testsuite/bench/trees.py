#!/usr/bin/env python3
"""Tree ensembles for the bench: 500 trees of depth 8 of LightGBM and XGBoost, and a forest of scikit-learn.

usage: trees.py FOLDER    then: run.sh IC FOLDER --threads 1

Needs lightgbm, xgboost, scikit-learn, onnxmltools and skl2onnx. Data are random, from a seed; each model becomes a case for
1 row and one for 1,000.
"""

import pathlib
import sys

import lightgbm
import numpy as np
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier

N_FEATURES = 40
TREES = {"n_estimators": 500, "max_depth": 8}


def models():
    """Names, models and rows."""
    x, y = make_regression(20000, N_FEATURES, n_informative=20, noise=5, random_state=0)
    x = x.astype("f4")
    types = [("x", FloatTensorType([None, N_FEATURES]))]
    regressor = lightgbm.LGBMRegressor(num_leaves=256, verbose=-1, **TREES).fit(x, y)
    yield "lightgbm", convert_lightgbm(regressor, initial_types=types), x
    yield "xgboost", convert_xgboost(xgboost.XGBRegressor(**TREES).fit(x, y), initial_types=types), x
    x, y = make_classification(20000, N_FEATURES, n_informative=20, n_classes=5, random_state=0)
    x = x.astype("f4")
    few_leaves = lightgbm.LGBMClassifier(verbose=-1, **TREES).fit(x, (y > 1).astype(int))
    yield "lightgbm_binary", convert_lightgbm(few_leaves, initial_types=types, zipmap=False), x
    forest = RandomForestClassifier(200, max_depth=12, random_state=0).fit(x, y)
    yield "forest", to_onnx(forest, x[:1], options={id(forest): {"zipmap": False}}), x


def main():
    for name, model, x in models():
        for n in (1, 1000):
            folder = pathlib.Path(sys.argv[1]) / f"{name}_b{n}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.onnx").write_bytes(model.SerializeToString())
            np.savez(folder / "inputs.npz", **{model.graph.input[0].name: x[:n]})


if __name__ == "__main__":
    main()
