"""The schema lives beside another Caffe's in one process, and its messages can be sent to another."""

import copy
import pickle
import subprocess
import sys

import pytest

from converters.caffe_pb2 import LayerParameter, NetParameter, ParamSpec

# As pycaffe's caffe_pb2 does when it is imported.
OTHER = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe")
net = file.message_type.add(name="NetParameter")
net.field.add(name="name", number=1, type=9, label=1)
net.field.add(name="flavor", number=2000, type=9, label=1)
pool = descriptor_pool.Default()
pool.AddSerializedFile(file.SerializeToString())
Other = message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
"""
OURS = "from converters.caffe_pb2 import LayerParameter, NetParameter\n"
BOTH = """
ours, other = NetParameter(name="n", layer=[LayerParameter(name="conv1")]), Other(name="n", flavor="f")
assert NetParameter.FromString(ours.SerializeToString()) == ours
assert Other.FromString(other.SerializeToString()) == other
assert Other.FromString(ours.SerializeToString()).name == NetParameter.FromString(other.SerializeToString()).name == "n"
"""


@pytest.mark.parametrize("imports", [OURS + OTHER, OTHER + OURS], ids=["before", "after"])
@pytest.mark.parametrize("implementation", ["upb", "python"])
def test_another_caffes_schema_in_the_same_process(imports, implementation):
    settings = f"import os; os.environ['PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION'] = '{implementation}'\n"
    done = subprocess.run([sys.executable, "-c", settings + imports + BOTH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("copied", [lambda message: pickle.loads(pickle.dumps(message)), copy.deepcopy])
def test_messages_can_be_copied_and_sent(copied):
    param = ParamSpec(name="w", share_mode=ParamSpec.PERMISSIVE)
    net = NetParameter(name="n", layer=[LayerParameter(name="conv1", param=[param])])
    again = copied(net)
    assert again == net and type(again) is NetParameter and type(again.layer[0]) is LayerParameter
    again.layer[0].name = "other"
    assert net.layer[0].name == "conv1"
