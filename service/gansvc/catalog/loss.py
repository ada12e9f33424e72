"""What all losses share: the optimiser, the regularizers, and fields that are reached by their paths.

Logits are the critic's raw outputs, shape (N,), float. A loss returns a scalar, the mean over the N given samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from gansvc.catalog.labels import Label
from gansvc.catalog.regularizers import AnyRegularizer, Regularizer
from gansvc.schema.explain import refusal
from gansvc.schema.section import Section

if TYPE_CHECKING:
    from torch import Tensor, nn

Rate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(ge=1, le=100)]


class Loss(Section):
    """What all losses share: the optimiser and the ratio of critic to generator steps."""

    reference: ClassVar[str]
    """Where the loss and its defaults come from."""

    pairs_real: ClassVar[bool] = False
    """Whether the generator's loss compares with the critic's logits of real images."""

    name: str
    label: Label = ""
    """Name in tables and folders; the loss's own name unless one job holds the same loss twice."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Optimiser of both players."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """Adam's decay rates; RMSprop uses the second as its smoothing constant."""
    generator_lr: Rate = 2e-4
    """Learning rate of the generator."""
    critic_lr: Rate = 2e-4
    """Learning rate of the critic."""
    n_critic: Steps = 1
    """Critic steps per generator step."""
    regularizers: Annotated[tuple[AnyRegularizer, ...], Field(max_length=10)] = ()
    """Terms that are added to the critic's loss, beside those that the loss's own name brings."""

    def model_post_init(self, context: Any, /) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the critic's loss from its logits of real and generated images, each (N,)."""
        raise TypeError(f"{type(self).__name__} defines no critic loss")

    def generator_loss(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """Return the generator's loss from the critic's logits of generated images, (N,).

        ``real`` are the logits of as many real images, given to a loss that ``pairs_real``; no gradient flows there.
        """
        raise TypeError(f"{type(self).__name__} defines no generator loss")

    def constrain(self, critic: nn.Module) -> None:
        """Project the critic's weights after its optimiser step; nothing by default."""

    def bounds_weights(self) -> bool:
        """Return whether ``constrain`` changes weights, so that a critic must use them as they are."""
        return False

    def own_regularizers(self) -> tuple[Regularizer, ...]:
        """Return the regularizers that the loss's name brings, with the values that its fields give them."""
        return ()

    def all_regularizers(self) -> tuple[Regularizer, ...]:
        """Return the regularizers that the loss's name brings, then those that are listed."""
        return (*self.own_regularizers(), *self.regularizers)

    def values(self) -> dict[str, Any]:
        """Return each field's plain value by its path: ``critic_lr``, ``regularizers.gradient-penalty.weight``."""
        fields = self.model_dump(mode="json")
        listed = {regularizer["name"]: regularizer for regularizer in fields.pop("regularizers")}
        return fields | {
            f"regularizers.{name}.{field}": value
            for name, values in listed.items()
            for field, value in values.items()
            if field != "name"
        }

    def with_value(self, path: str, value: object) -> Loss:
        """Return the loss with a value at one of ``values``' paths, validated anew.

        Raises:
            ValidationError: the value doesn't fit there.
        """
        data = self.model_dump()
        *parents, field = path.split(".")
        section = data
        for part in parents[1:]:
            section = next(one for one in data[parents[0]] if one["name"] == part)
        section[field] = value
        return type(self).model_validate(data)

    @model_validator(mode="after")
    def _each_regularizer_once(self) -> Loss:
        names = [regularizer.name for regularizer in self.all_regularizers()]
        own = [regularizer.name for regularizer in self.own_regularizers()]
        for index, regularizer in enumerate(self.regularizers):
            if regularizer.name in own:
                text = (
                    f"{self.name} brings {regularizer.name} itself; leave it out here, and set {self.name}'s own fields"
                )
                raise refusal(text, f".regularizers[{index}]")
            if names.count(regularizer.name) > 1:
                raise refusal(f"{regularizer.name} is there twice; name each regularizer once", ".regularizers")
        return self
