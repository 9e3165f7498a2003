"""The decoder-only language model: embedding, layers, norm, head.

Shapes: T tokens of a step, D hidden, V vocabulary, R rows whose logits are wanted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from evident_core.moe.attention import GQA, MLA, LayerCache
from evident_core.moe.batch import Batch
from evident_core.moe.config import MLAConfig, ModelConfig
from evident_core.moe.experts import Experts, MoE, SwiGLU
from evident_core.moe.norm import RMSNorm
from evident_core.moe.rope import Rotary
from evident_core.moe.router import Routing


class Layer(nn.Module):
    """Attention and MLP (dense or of experts), each behind a norm and added to what came in."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        attention = config.attention
        self.attn_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn: GQA | MLA
        if isinstance(attention, MLAConfig):
            self.attn = MLA(config.hidden_size, attention, config.rope)
        else:
            sliding = config.sliding_layers[index]
            self.attn = GQA(config.hidden_size, attention, config.rope, config.rms_norm_eps, sliding)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp: MoE | SwiGLU
        if config.moe is not None and config.moe_layers[index]:
            self.mlp = MoE(config.hidden_size, config.moe)
        else:
            self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(
        self,
        x_TD: Tensor,
        batch: Batch,
        turn: tuple[Tensor, Tensor],
        cache: LayerCache | None,
        routings: list[Routing] | None,
    ) -> Tensor:
        """The layer's output, [T, D]."""
        x_TD = x_TD + self.attn(self.attn_norm(x_TD), batch, turn, cache)
        y_TD = self.mlp_norm(x_TD)
        z_TD: Tensor = self.mlp(y_TD, batch.domains_T, routings) if isinstance(self.mlp, MoE) else self.mlp(y_TD)
        return x_TD + z_TD


class CausalLM(nn.Module):
    """A language model over packed batches.

    Example::

        model = CausalLM(config).eval()
        logits_RV = model(Batch.packed([[1, 2, 3], [4, 5]]))
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # Given its memory: nn.Embedding would draw it, which on "meta" imports PyTorch's compiler (seconds).
        memory = torch.empty(config.vocab_size, config.hidden_size)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size, _weight=memory)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        tied = config.tie_word_embeddings
        self.head = None if tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rotary = Rotary(config.rope)
        if not self.norm.weight.is_meta:
            self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, std: float = 0.02) -> None:
        """Draw every matrix from a normal distribution of this width, and set norms to 1 and biases to 0."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                module.weight.normal_(0.0, std)
                if getattr(module, "bias", None) is not None:
                    module.bias.zero_()  # type: ignore[operator]
            elif isinstance(module, Experts):
                module.w13_EGD.normal_(0.0, std)
                module.w2_EDF.normal_(0.0, std)
            elif isinstance(module, RMSNorm):
                module.weight.fill_(1.0)

    def forward(self, batch: Batch, cache: Sequence[LayerCache] | None = None) -> Tensor:
        """The logits of the wanted rows, [R, V] float32.

        Args:
            batch: The step's tokens.
            cache: One a layer; the tokens' keys and values are written to it, and the whole contexts read from it.
                None is plain causal attention of whole sequences over themselves.
        """
        return self.logits(self.hidden(batch, cache)[batch.rows_R])

    def hidden(
        self, batch: Batch, cache: Sequence[LayerCache] | None = None, routings: list[Routing] | None = None
    ) -> Tensor:
        """What the head reads, [T, D]; each expert layer's routing is appended to ``routings`` where it is given."""
        x_TD: Tensor = self.embed(batch.token_ids_T)
        turn = self.rotary(batch.positions_T)
        for index, layer in enumerate(self.layers):
            x_TD = layer(x_TD, batch, turn, None if cache is None else cache[index], routings)
        normed_TD: Tensor = self.norm(x_TD)
        return normed_TD

    def logits(self, x_RD: Tensor) -> Tensor:
        """The head's output, [R, V] float32."""
        if self.head is None:
            return functional.linear(x_RD, self.embed.weight).float()
        logits_RV: Tensor = self.head(x_RD)
        return logits_RV.float()
