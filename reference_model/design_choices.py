"""The paper's design choices as switches, and its ablation (Table 5) as a loop over them.

``for name, choices in TABLE_5.items(): net, loss = choices.applied(net_config, loss_config)``.
"""

from dataclasses import dataclass, replace

from dojobench.reference_model.flow_matching import FlowMatchingConfig
from dojobench.reference_model.net_config import Injection, WorldModelConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DesignChoices:
    """Which of the paper's choices are made.

    Attributes:
        clean_context: The first latent frame enters clean; otherwise it is noised like the others
            and the network reads the context from channels of its input.
        relative_actions: Actions are relative to the step before their group of four; without,
            the displacement feature goes too, since it is made of them.
        chunked_actions: Each latent frame gets its own four actions; otherwise all get the same.
        temporal_loss: Temporal consistency is part of the loss.
        unchunked: The injection where actions are not chunked; Cosmos-Predict2.5's is
            ``global-flat``.
    """

    clean_context: bool = True
    relative_actions: bool = True
    chunked_actions: bool = True
    temporal_loss: bool = True
    unchunked: Injection = "global-mean"

    def applied(
        self, net: WorldModelConfig, loss: FlowMatchingConfig
    ) -> tuple[WorldModelConfig, FlowMatchingConfig]:
        """Switches off what is not chosen.

        Args:
            net: A network with everything on.
            loss: An objective with everything on.

        Returns:
            Both with the choices applied; what is chosen stays as it was.
        """
        actions = net.actions
        if not self.relative_actions:
            actions = replace(actions, relative=False, cumulative=False)
        if not self.chunked_actions:
            actions = replace(actions, injection=self.unchunked)
        net = replace(net, actions=actions)
        if not self.clean_context:
            net = replace(net, context_channels=True, clean_context=False)
            loss = replace(loss, clean_frames=0)
        if not self.temporal_loss:
            loss = replace(loss, temporal_weight=0.0)
        return net, loss


TABLE_5: dict[str, DesignChoices] = {
    "base": DesignChoices(relative_actions=False, chunked_actions=False, temporal_loss=False),
    "+ relative actions": DesignChoices(chunked_actions=False, temporal_loss=False),
    "+ chunked injection": DesignChoices(temporal_loss=False),
    "+ temporal loss": DesignChoices(),
}
"""The rows of the paper's Table 5, each adding to the one before."""
