"""What the activations share: an alpha that is fixed or learned, one for all units or one per unit."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lunet_export.errors import BadInputError
from lunet_export.layers import Activation
from lunet_export.torch_layers.bijection import Bijection, numbers

#: Ends of a learned alpha. A smaller one would lose float32's digits in the inverse; at 1 the activation is linear.
_LEAST, _MOST = 0.01, 0.99


class ActivationBijection(Bijection):
    """This module is an activation f with slopes in (alpha, 1], elementwise.

    A learned alpha is 0.01 + 0.98 sigmoid(pace theta) with a parameter theta, so that it stays within (0, 1)
    whatever an optimizer does. `inverse` has no gradient with respect to it. Shapes: (N, D) -> (N, D), (N,).

    Args:
        alpha: One number, or one per unit, (D,).
        learned: Whether it is a parameter.
        pace: How many times as far as without it a step along theta moves a learned alpha.

    Raises:
        BadInputError: if alpha is outside the limits of the activation.
    """

    LAYER: ClassVar[type[Activation]]

    fixed: Tensor | float
    theta: nn.Parameter

    def __init__(self, alpha: Tensor | float, *, learned: bool = False, pace: float = 1.0) -> None:
        super().__init__()
        self._learned, self._pace = learned, pace
        self.validate(alpha)
        if learned:
            share = (torch.as_tensor(alpha, dtype=torch.float64).clamp(1.01 * _LEAST, 0.99) - _LEAST) / (_MOST - _LEAST)
            self.theta = nn.Parameter(share.logit() / pace)
        elif isinstance(alpha, Tensor):
            self.register_buffer("fixed", alpha)
        else:
            self.fixed = alpha

    @classmethod
    def validate(cls, alpha: Tensor | float) -> None:
        """Raise BadInputError if alpha is outside (0, 1)."""
        found = torch.as_tensor(alpha, dtype=torch.float64)  # 1 - 1e-15 is 1 in float32
        if not bool(((found > 0) & (found < 1)).all()):
            raise BadInputError(f"Expected alpha in (0, 1); got {alpha}. The paper uses 0.1.")

    @property
    def alpha(self) -> Any:  # noqa: ANN401  (arithmetic takes a number or a tensor)
        """Return alpha as it is now."""
        return _LEAST + (_MOST - _LEAST) * (self._pace * self.theta).sigmoid() if self._learned else self.fixed

    def learning(self, *, pace: float = 1.0) -> Self:
        """Return the module with an alpha that training changes, from where it is; alphas per unit at this pace.

        One alpha of all units has the gradients of all, which would drown those of the weights if they were larger.
        """
        alpha = self.alpha
        if not isinstance(alpha, Tensor):
            return type(self)(alpha, learned=True)
        return type(self)(alpha.detach().clone(), learned=True, pace=pace)

    @classmethod
    def of(cls, layer: Any) -> Self:  # noqa: ANN401
        return cls(layer.alpha if isinstance(layer.alpha, float) else torch.from_numpy(layer.alpha.copy()))

    def layer(self) -> Activation:
        alpha = numbers(self.alpha) if isinstance(self.alpha, Tensor) else self.alpha
        return self.LAYER(alpha if isinstance(alpha, float) or alpha.ndim else float(alpha))  # type: ignore[call-arg]

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"
