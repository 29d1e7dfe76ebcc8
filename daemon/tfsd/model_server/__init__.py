"""A model server in Python with the interface of tensorflow_model_server. Never imports the rest of tfsd.

TensorFlow imports Keras where it is, and Keras scikit-learn: seconds of each start, and no SavedModel needs them. A
package of op libraries may (`runtime.op_libraries`).
"""

import sys

sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # an import of it is an ImportError from now on
