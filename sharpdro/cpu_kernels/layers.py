"""The networks' layers by the operators in kernels.cc.

MindSpore tells two Custom operators apart by their attributes alone, and shares shape inference and
gradient among those that it finds equal. So all that the functions below know beyond the shapes is
in the attributes.
"""

from functools import partial

import mindspore as ms
from mindspore import Tensor, nn, ops

from models import layers
from sharpdro.cpu_kernels.build import build_library

_assign = ops.Assign()


def _operator(name, shape, dtype, bprop=None, **attributes):
    operator = ops.Custom(f"{build_library()}:{name}", shape, dtype, "aot", bprop=bprop)
    for key, value in attributes.items():
        operator.add_prim_attr(key, value)
    return operator


def _first(a, b, *_):
    return a


def _second(_, b, *__):
    return b


def _third(_, __, c):
    return c


def _third_and_second(_, b, c):
    return c, b


def _convolution(stride, of_images):
    """x (N, C, H, W), w (O, C, K, K), K odd → (N, O, ⌈H / stride⌉, ⌈W / stride⌉).

    Args:
        stride: 1 or 2.
        of_images: the gradient by x is an operator of its own, which is left out where nobody asks
            for it; else one operator gives both gradients, in less time.
    """

    def output(x, w):
        return [x[0], w[0], (x[2] - 1) // stride + 1, (x[3] - 1) // stride + 1]

    both = _operator("convolution_gradients", _third_and_second, _third_and_second)
    by_input = _operator("convolution_input_gradient", _third, _third)
    by_weight = _operator("convolution_weight_gradient", _second, _second)

    def gradients(x, w, y, dy):
        if of_images:
            return by_input(dy, w, x), by_weight(dy, w, x)
        return both(dy, w, x)

    how = {"stride": stride, "of_images": of_images}
    return _operator("convolution_forward", output, _first, gradients, **how)


class Convolution(nn.Conv2d):
    """nn.Conv2d without bias, padding kernel // 2, on a CPU.

    Raises:
        ValueError: the kernel is not square and odd, the stride not 1 or 2, or there is more that
            the operators cannot do.
    """

    def __init__(self, in_channels, out_channels, kernel_size, **settings):
        super().__init__(in_channels, out_channels, kernel_size, **settings)
        _check(self)
        self.convolve = _convolution(self.stride[0], in_channels <= 3)

    def construct(self, x):
        return self.convolve(x, self.weight)


def _check(cell):
    kernel, stride = cell.kernel_size, cell.stride
    expected = {
        "kernel_size": (kernel[0] // 2 * 2 + 1,) * 2,
        "stride": (min(max(stride[0], 1), 2),) * 2,
        "padding": kernel[0] // 2,
        "pad_mode": "pad",
        "dilation": (1, 1),
        "group": 1,
        "has_bias": False,
        "data_format": "NCHW",
    }
    for name, value in expected.items():
        if getattr(cell, name) != value:
            raise ValueError(
                f"--cpu_kernels onednn has no convolution of {name} {getattr(cell, name)}"
            )


def _norm():
    def like_input_and_channels(x, gamma, *_):
        return x, gamma, gamma, gamma, gamma

    def like_first_parameters(_, x, gamma, beta, *__):
        return x, gamma, beta

    backward = _operator("norm_gradients", like_first_parameters, like_first_parameters)

    def gradients(x, gamma, beta, mean, variance, how, outputs, douts):
        dx, dgamma, dbeta = backward(douts[0], x, gamma, beta, outputs[1], outputs[2], how)
        zeros = ops.zeros_like(gamma)
        return dx, dgamma, dbeta, zeros, zeros, ops.zeros_like(how)

    return _operator("norm_forward", like_input_and_channels, like_input_and_channels, gradients)


class NormActivation(nn.BatchNorm2d):
    """Batch norm and max(v, slope · v), each in one pass where MindSpore takes several.

    Args:
        channels: number of channels.
        slope: from 0, which is ReLU, to 1, which is no activation.
        settings: of nn.BatchNorm2d.
    """

    def __init__(self, channels, slope, **settings):
        super().__init__(channels, **settings)
        self.how = Tensor([self.eps, slope, self.momentum], ms.float32)
        self.normalize = _norm()
        self.evaluate = _operator("norm_evaluation", _first, _first)

    def construct(self, x):
        parameters = self.gamma, self.beta, self.moving_mean, self.moving_variance
        if not self.training:
            return self.evaluate(x, *parameters, self.how)
        y, _, _, mean, variance = self.normalize(x, *parameters, self.how)
        y = ops.depend(y, _assign(self.moving_mean, ops.stop_gradient(mean)))
        return ops.depend(y, _assign(self.moving_variance, ops.stop_gradient(variance)))


class Layers(layers.Layers):
    """Convolutions by oneDNN, and norms.

    Args:
        has_pointwise: also 1×1 convolutions, for which MindSpore's own are faster with AVX2, and
            far slower with AVX-512.
    """

    def __init__(self, has_pointwise=False):
        self.has_pointwise = has_pointwise

    def convolution(self, in_channels, out_channels, kernel_size, stride=1):
        is_stock = kernel_size == 1 and not self.has_pointwise
        cell = nn.Conv2d if is_stock else Convolution
        return layers.convolution(in_channels, out_channels, kernel_size, stride, cell)

    def batch_norm(self, channels, slope=1.0):
        return layers.batch_norm(channels, partial(NormActivation, slope=slope))

    def activation(self, slope):
        """Nothing: `batch_norm` has done it."""
        return nn.Identity()
