"""Answers requests with TensorFlow's C library, without TensorFlow's Python; verify.py starts this program.

    python export/_verify/session.py PLAN.json GIVEN.npz OUT.npz

TensorFlow Serving loads and runs a model by the same two calls of that library: `LoadSavedModel` and `Session::Run`. The
plan has `directory` (the version's folder), `libraries` (op libraries to load first) and `requests`. A request names the
graph's tensor for every input and output. The arrays of GIVEN and OUT are named REQUEST/TENSOR, where REQUEST is the
request's number; arrays of dtype object hold bytes.

The functions are declared in tensorflow/c/c_api.h, tf_tensor.h and tf_tstring.h.
"""

import ctypes
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

# Values of the enum TF_DataType.
STRING = 7
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_}
NUMBERS = {np.dtype(dtype): number for number, dtype in DTYPES.items()}
STRING_BYTES = 24  # a TF_TString
Pointer = ctypes.c_void_p
# Functions by return type, because ctypes reads every other result as a 32-bit int.
POINTER_FUNCTIONS = (
    "TF_NewStatus",
    "TF_NewGraph",
    "TF_NewSessionOptions",
    "TF_LoadSessionFromSavedModel",
    "TF_LoadLibrary",
    "TF_GraphOperationByName",
    "TF_AllocateTensor",
    "TF_TensorData",
    "TF_StringGetDataPointer",
)
SIZE_FUNCTIONS = ("TF_Dim", "TF_TensorByteSize", "TF_StringGetSize")


class Output(ctypes.Structure):
    """The struct TF_Output, one output of an operation."""

    _fields_ = [("oper", Pointer), ("index", ctypes.c_int)]


def load_library() -> ctypes.CDLL:
    """Loads the C library inside the tensorflow package without importing the package."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package tensorflow is not installed")
    folder = Path(spec.submodule_search_locations[0])
    library = ctypes.CDLL(str(next(folder.glob("libtensorflow_cc.so*"))), mode=ctypes.RTLD_GLOBAL)
    for name in POINTER_FUNCTIONS:
        getattr(library, name).restype = Pointer
    for name in SIZE_FUNCTIONS:
        getattr(library, name).restype = ctypes.c_int64
    library.TF_Message.restype = ctypes.c_char_p
    return library


class Session:
    """A SavedModel loaded by the C library.

    Args:
        directory: the version's folder.
        op_libraries: files of op libraries beyond TensorFlow's own ops.
    """

    def __init__(self, directory: str, op_libraries: Iterable[str] = ()):
        self._library = load_library()
        self._status = Pointer(self._library.TF_NewStatus())
        for path in op_libraries:
            self._library.TF_LoadLibrary(path.encode(), self._status)
            self._check()
        self._graph = Pointer(self._library.TF_NewGraph())
        options = Pointer(self._library.TF_NewSessionOptions())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = Pointer(
            self._library.TF_LoadSessionFromSavedModel(
                options, None, directory.encode(), tags, 1, self._graph, None, self._status
            )
        )
        self._check()

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Computes the tensors `outputs` from named inputs; names are the graph's, such as "StatefulPartitionedCall:2"."""
        given = [Pointer(self._tensor(value)) for value in inputs.values()]
        answers = (Pointer * len(outputs))()
        self._library.TF_SessionRun(
            self._session,
            None,
            (Output * len(inputs))(*map(self._output, inputs)),
            (Pointer * len(given))(*given),
            len(given),
            (Output * len(outputs))(*map(self._output, outputs)),
            answers,
            len(outputs),
            None,
            0,
            None,
            self._status,
        )
        for tensor in given:
            self._library.TF_DeleteTensor(tensor)
        self._check()
        return [self._array(Pointer(answer)) for answer in answers]

    def _check(self) -> None:
        if self._library.TF_GetCode(self._status):
            raise RuntimeError(self._library.TF_Message(self._status).decode())

    def _output(self, name: str) -> Output:
        operation, _, index = name.partition(":")
        found = self._library.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise RuntimeError(f"the graph has no operation {operation!r}")
        return Output(found, int(index or 0))

    def _tensor(self, value: np.ndarray) -> Any:
        dimensions = (ctypes.c_int64 * value.ndim)(*value.shape)
        if value.dtype != object:
            value = np.asarray(value, order="C")
            number, size = NUMBERS[value.dtype], value.nbytes
        else:
            number, size = STRING, STRING_BYTES * value.size
        tensor = self._library.TF_AllocateTensor(number, dimensions, value.ndim, ctypes.c_size_t(size))
        data = self._library.TF_TensorData(Pointer(tensor))
        if number != STRING:
            ctypes.memmove(data, value.ctypes.data, size) if size else None
            return tensor
        for place, text in enumerate(value.reshape(-1)):
            string = Pointer(data + STRING_BYTES * place)
            self._library.TF_StringInit(string)
            self._library.TF_StringCopy(string, ctypes.c_char_p(text), ctypes.c_size_t(len(text)))
        return tensor

    def _array(self, tensor: Pointer) -> np.ndarray:
        """Copies a tensor to an array and frees the tensor."""
        library = self._library
        shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
        number, data = library.TF_TensorType(tensor), library.TF_TensorData(tensor)
        if number != STRING:
            size = library.TF_TensorByteSize(tensor)
            content = ctypes.string_at(data, size) if size else b""
            array = np.frombuffer(content, DTYPES[number]).reshape(shape).copy()
        else:
            array = np.empty(int(np.prod(shape)), object)
            for place in range(array.size):
                string = Pointer(data + STRING_BYTES * place)
                text = library.TF_StringGetDataPointer(string)
                array[place] = ctypes.string_at(text, library.TF_StringGetSize(string))
            array = array.reshape(shape)
        library.TF_DeleteTensor(tensor)
        return array


def main(plan: str, given: str, out: str) -> None:
    asked = json.loads(Path(plan).read_text(encoding="utf-8"))
    arrays = dict(np.load(given, allow_pickle=True))
    session = Session(asked["directory"], asked["libraries"])
    answers = {}
    for number, request in enumerate(asked["requests"]):
        inputs = {tensor: arrays[f"{number}/{name}"] for name, tensor in request["inputs"].items()}
        found = session.run(inputs, list(request["outputs"].values()))
        answers.update({f"{number}/{name}": value for name, value in zip(request["outputs"], found)})
    if "tensorflow" in sys.modules:
        raise RuntimeError(
            "TensorFlow's Python has been imported, so the answers prove nothing about the C library alone"
        )
    np.savez(out, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
