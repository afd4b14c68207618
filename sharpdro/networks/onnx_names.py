"""The output of an ONNX file by a name that says what it is.

MindSpore names it after a number of its own. The package onnx is not needed to change that: of the
format's messages only the fields that hold such names are described here, by their numbers in
onnx.proto; whatever else is in a file stays as it is.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

# Message: {field: (number, the message that it holds; None for a text)}; Model.graph and Value.name
# are single, the others repeated.
_MESSAGES = {
    "Value": {"name": (1, None)},
    "Node": {"input": (1, None), "output": (2, None)},
    "Graph": {"node": (1, "Node"), "output": (12, "Value")},
    "Model": {"graph": (7, "Graph")},
}
_SINGLE = {("Model", "graph"), ("Value", "name")}


def _model_class():
    file = descriptor_pb2.FileDescriptorProto(name="names.proto", package="names", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, held) in fields.items():
            is_single = (message, name) in _SINGLE
            field = described.field.add(name=name, number=number)
            field.label = Field.LABEL_OPTIONAL if is_single else Field.LABEL_REPEATED
            field.type = Field.TYPE_STRING if held is None else Field.TYPE_MESSAGE
            if held is not None:
                field.type_name = f".names.{held}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("names.Model"))


def name_output(content: bytes, name: str) -> bytes:
    """An ONNX file with another name for its output.

    Args:
        content: of the file, whose graph has one output.
        name: which nothing else in the graph may have.

    Returns:
        The content of the new file; the old one where the name is taken.
    """
    model = _model_class().FromString(content)
    (output,) = model.graph.output
    nodes = model.graph.node
    if any(name in (*node.input, *node.output) for node in nodes):
        return content
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [name if each == output.name else each for each in names]
    output.name = name
    return model.SerializeToString()
