"""What a language model is made of: frozen, checked, and stored beside its weights.

Every field that is wrong is refused by its name and value, so a mistake in a ``config.json`` is found before a byte of
weights is read. :meth:`ModelConfig.to_dict` and :meth:`ModelConfig.from_dict` are exact inverses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evident_core.errors import InvalidInput
from evident_core.moe.fields import build, check, check_positive, check_types, freeze
from evident_core.moe.rope import RopeConfig, rope_from_dict, rope_to_dict


@dataclass(frozen=True)
class GQAConfig:
    """Grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245); as many kv heads as heads is plain MHA.

    Attributes:
        num_heads: Query heads.
        num_kv_heads: Key and value heads; each serves ``num_heads / num_kv_heads`` query heads.
        head_dim: Numbers a head.
        qk_norm: RMS norm of queries and keys before the rotation: of each "head" (Qwen3), over all heads together
            ("full", OLMoE), or None.
        sliding_window: Keys that a query sees in the layers of ``ModelConfig.sliding_layers``, its own included.
        bias: Whether the four projections have one.
        clip_qkv: Queries, keys and values are clamped to plus or minus this (OLMoE); None is not at all.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    qk_norm: Literal["head", "full"] | None = None
    sliding_window: int | None = None
    bias: bool = False
    clip_qkv: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be computed."""
        check_types(self)
        check_positive(self, "num_heads", "num_kv_heads", "head_dim")
        check(self, "num_kv_heads", self.num_heads % self.num_kv_heads == 0, f"a divisor of num_heads {self.num_heads}")
        check(self, "sliding_window", self.sliding_window is None or self.sliding_window > 0, "null or above 0")
        check(self, "clip_qkv", self.clip_qkv is None or self.clip_qkv > 0, "null or above 0")


@dataclass(frozen=True)
class MLAConfig:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): the cache holds one latent a token.

    Attributes:
        num_heads: Heads of queries, keys and values alike.
        q_lora_rank: Size of the queries' latent; None projects them directly (DeepSeek-V2-Lite).
        kv_lora_rank: Size of the keys' and values' common latent.
        qk_nope_head_dim: Part of a head that is not rotated.
        qk_rope_head_dim: Part of a head that is rotated; its key is one for all heads.
        v_head_dim: Numbers of a value head.
        bias: Whether the projections into latents and the output projection have one.
        latent_norm_eps: Epsilon of the two latents' norms, which is not the model's in DeepSeek's own code.
    """

    num_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    bias: bool = False
    latent_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Refuse what cannot be computed."""
        check_types(self)
        check_positive(self, "num_heads", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
        check(self, "q_lora_rank", self.q_lora_rank is None or self.q_lora_rank > 0, "null or above 0")
        check_positive(self, "latent_norm_eps")

    @property
    def latent_dim(self) -> int:
        """Numbers that the cache holds for a token: the latent and the rotated key."""
        return self.kv_lora_rank + self.qk_rope_head_dim


@dataclass(frozen=True)
class MoEConfig:
    """A layer of routed experts, with or without a shared one that every token uses.

    Attributes:
        num_experts: Routed experts.
        top_k: Routed experts that a token uses.
        intermediate_size: Width of one routed expert.
        score: What turns a router's logits into scores.
        normalise_top_k: Whether the weights of the chosen experts are made to sum to 1.
        scaling_factor: What the weights are multiplied by in the end.
        shared_intermediate_size: Width of the shared expert; 0 is none.
        num_groups: Groups of equal size that the experts are cut into; 1 is no grouping.
        top_k_groups: Groups from which a token's experts may come (DeepSeek-V2, section 2.1.3).
        group_score: A group is as good as its best expert ("max"), or as the sum of its best two ("top2_sum").
        expert_bias: Whether a bias that is learnt from load alone is added to the scores for the choice (not for the
            weights): DeepSeek-V3, arXiv:2412.19437, section 2.1.2.
        domains: Named groups of experts, in the experts' order, each with its number of experts. A token that comes
            with a domain chooses among that domain's experts only. Empty is none.
        gumbel_temperature: Training only: how much Gumbel noise takes part in the choice; 0 is none.
        balance_loss: Training only: weight of the load balancing loss.
        z_loss: Training only: weight of the router z-loss.
        bias_update_speed: Training only: step of ``expert_bias`` after each batch.
        capacity_factor: Training only: an expert takes at most this times its even share of tokens; None is no limit.
    """

    num_experts: int
    top_k: int
    intermediate_size: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalise_top_k: bool = True
    scaling_factor: float = 1.0
    shared_intermediate_size: int = 0
    num_groups: int = 1
    top_k_groups: int = 1
    group_score: Literal["max", "top2_sum"] = "max"
    expert_bias: bool = False
    domains: tuple[tuple[str, int], ...] = ()
    gumbel_temperature: float = 0.0
    balance_loss: float = 0.0
    z_loss: float = 0.0
    bias_update_speed: float = 0.001
    capacity_factor: float | None = None

    def __post_init__(self) -> None:
        """Refuse a routing that cannot find ``top_k`` experts for every token."""
        check_types(self)
        check_positive(self, "num_experts", "top_k", "intermediate_size", "num_groups", "top_k_groups")
        check(self, "num_groups", self.num_experts % self.num_groups == 0, f"a divisor of {self.num_experts} experts")
        check(self, "top_k_groups", self.top_k_groups <= self.num_groups, f"at most num_groups {self.num_groups}")
        reachable = self.group_size * self.top_k_groups
        check(self, "top_k", self.top_k <= reachable, f"at most {reachable}, the experts of {self.top_k_groups} groups")
        if self.num_groups > 1 and self.group_score == "top2_sum":
            check(self, "group_score", self.group_size >= 2, "'max' where a group has a single expert")
        for name in ("shared_intermediate_size", "gumbel_temperature", "balance_loss", "z_loss", "bias_update_speed"):
            check(self, name, getattr(self, name) >= 0, "0 or more")
        check(self, "capacity_factor", self.capacity_factor is None or self.capacity_factor > 0, "null or above 0")
        if self.domains:
            self._check_domains()

    def _check_domains(self) -> None:
        names, sizes = [name for name, _ in self.domains], [size for _, size in self.domains]
        check(self, "domains", len(set(names)) == len(names), "names that are all different")
        check(self, "domains", sum(sizes) == self.num_experts, f"sizes that sum to {self.num_experts} experts")
        check(self, "domains", min(sizes) >= self.top_k, f"sizes of at least top_k {self.top_k}")
        if self.num_groups > 1:
            least = self.group_size * self.top_k_groups
            whole = all(size % self.group_size == 0 and size >= least for size in sizes)
            check(
                self, "domains", whole, f"whole groups of {self.group_size} experts, at least {self.top_k_groups} each"
            )

    @property
    def group_size(self) -> int:
        """Experts of one group."""
        return self.num_experts // self.num_groups

    @property
    def active_share(self) -> float:
        """Share of the parameters of routed and shared experts that one token uses."""
        routed = self.num_experts * self.intermediate_size
        used = self.top_k * self.intermediate_size
        return (used + self.shared_intermediate_size) / (routed + self.shared_intermediate_size)

    def domain_index(self, name: str) -> int:
        """The number that a token of this domain carries.

        Raises:
            InvalidInput: There is no such domain.
        """
        names = [known for known, _ in self.domains]
        if name not in names:
            raise InvalidInput(
                f"There is no expert domain {name!r}; there are {', '.join(names) or 'none'}.", domain=name
            )
        return names.index(name)


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only language model.

    Attributes:
        family: Whose layout it has; see ``families``.
        vocab_size: Tokens.
        hidden_size: Numbers of a token between layers.
        intermediate_size: Width of the dense MLP, in the layers that have one.
        num_layers: Layers.
        attention: The same in every layer.
        rope: How positions are rotated in.
        moe: The experts of the layers that ``moe_layers`` names.
        moe_layers: Of each layer, whether it has experts; empty stands for all of them where ``moe`` is given.
        sliding_layers: Of each layer, whether the attention's sliding window holds; empty stands for all of them.
        rms_norm_eps: Epsilon of the norms.
        tie_word_embeddings: Whether the head's weight is the embedding's.
        max_position_embeddings: Longest context in tokens.
        eos_token_ids: Tokens that end a text.
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    attention: GQAConfig | MLAConfig
    rope: RopeConfig
    moe: MoEConfig | None = None
    moe_layers: tuple[bool, ...] = field(default=())
    sliding_layers: tuple[bool, ...] = field(default=())
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    max_position_embeddings: int = 4096
    eos_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Fill in the layers' kinds and refuse parts that do not fit each other."""
        check_types(self)
        check_positive(self, "vocab_size", "hidden_size", "num_layers", "rms_norm_eps", "max_position_embeddings")
        window = isinstance(self.attention, GQAConfig) and self.attention.sliding_window is not None
        for name, default in (("moe_layers", self.moe is not None), ("sliding_layers", window)):
            layers = getattr(self, name) or (default,) * self.num_layers
            object.__setattr__(self, name, layers)
            check(self, name, len(layers) == self.num_layers, f"one value for each of {self.num_layers} layers")
            check(self, name, default or not any(layers), "all false where there is nothing of the kind")
        if not all(self.moe_layers):
            check_positive(self, "intermediate_size")
        mla = isinstance(self.attention, MLAConfig)
        dim = self.attention.qk_rope_head_dim if isinstance(self.attention, MLAConfig) else self.attention.head_dim
        if self.rope.dim != dim and (mla or self.rope.dim > dim):
            raise InvalidInput(
                f"rope.dim is {self.rope.dim}; the attention rotates heads of {dim} numbers.", field="rope.dim"
            )
        for token in self.eos_token_ids:
            check(self, "eos_token_ids", 0 <= token < self.vocab_size, f"tokens below vocab_size {self.vocab_size}")

    @property
    def active_share(self) -> float:
        """Share of the expert parameters (routed and shared) that one token uses; 1 for a dense model."""
        return 1.0 if self.moe is None else self.moe.active_share

    @property
    def num_parameters(self) -> int:
        """Parameters of the whole model; a tied head counts once."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        layers = sum(self._mlp_parameters(sparse) for sparse in self.moe_layers)
        return (
            embeddings
            + self.hidden_size
            + layers
            + self.num_layers * (self._attention_parameters() + 2 * self.hidden_size)
        )

    @property
    def num_active_parameters(self) -> int:
        """Parameters that one token uses: all but the routed experts that it does not choose."""
        if self.moe is None:
            return self.num_parameters
        idle = (self.moe.num_experts - self.moe.top_k) * 3 * self.hidden_size * self.moe.intermediate_size
        return self.num_parameters - sum(self.moe_layers) * idle

    def _mlp_parameters(self, sparse: bool) -> int:
        if self.moe is None or not sparse:
            return 3 * self.hidden_size * self.intermediate_size
        width = self.moe.num_experts * self.moe.intermediate_size + self.moe.shared_intermediate_size
        return 3 * self.hidden_size * width + self.moe.num_experts * self.hidden_size

    def _attention_parameters(self) -> int:
        hidden, attention = self.hidden_size, self.attention
        if isinstance(attention, GQAConfig):
            queries, keys = attention.num_heads * attention.head_dim, attention.num_kv_heads * attention.head_dim
            norms = {None: 0, "head": 2 * attention.head_dim, "full": queries + keys}[attention.qk_norm]
            biases = queries + 2 * keys + hidden if attention.bias else 0
            return 2 * hidden * queries + 2 * hidden * keys + norms + biases
        heads, latent, rank = attention.num_heads, attention.kv_lora_rank, attention.q_lora_rank
        queries = heads * (attention.qk_nope_head_dim + attention.qk_rope_head_dim)
        into_queries = hidden * queries if rank is None else hidden * rank + rank + rank * queries
        into_latent = hidden * attention.latent_dim + latent
        out_of_latent = latent * heads * (attention.qk_nope_head_dim + attention.v_head_dim)
        biases = (rank or 0) + attention.latent_dim + hidden if attention.bias else 0
        return into_queries + into_latent + out_of_latent + heads * attention.v_head_dim * hidden + biases

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values; :meth:`from_dict` is the inverse."""
        values = dict(vars(self))
        values["attention"] = {"kind": "mla" if isinstance(self.attention, MLAConfig) else "gqa"} | vars(self.attention)
        values["rope"] = rope_to_dict(self.rope)
        values["moe"] = None
        if self.moe is not None:
            values["moe"] = vars(self.moe) | {"domains": [list(domain) for domain in self.moe.domains]}
        for name in ("moe_layers", "sliding_layers", "eos_token_ids"):
            values[name] = list(values[name])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Read what :meth:`to_dict` wrote.

        Raises:
            InvalidInput: A field is unknown, missing or wrong; the message names it.
        """
        values = {name: freeze(value) for name, value in values.items()}
        attention = values.get("attention")
        if not isinstance(attention, Mapping) or attention.get("kind") not in ("gqa", "mla"):
            raise InvalidInput(
                f"attention is {attention!r}; it must be an object with kind 'gqa' or 'mla'.", field="attention"
            )
        parts = {name: value for name, value in attention.items() if name != "kind"}
        values["attention"] = build(MLAConfig if attention["kind"] == "mla" else GQAConfig, parts, "attention")
        values["rope"] = rope_from_dict(values.get("rope"))
        moe = values.get("moe")
        if isinstance(moe, Mapping):
            values["moe"] = build(MoEConfig, {name: freeze(value) for name, value in moe.items()}, "moe")
        return build(cls, values, "the model")
