"""The book network: axis-separable MLP blocks over features and time, made odd and even by a mirror.

Rows are encoded one by one (what a book and its flow mean together), then mixed over time (what the last seconds add up
to). Encoding before mixing lets neighbouring decisions share their rows, so training on a segment of P decisions costs
little more than on one. Beside the blocks runs a frozen linear path over exponential averages (see `linear`): a straight
answer where the market is that simple, and the start of training, since the blocks' last layer begins at zero.

Source: axis-separable mixing as in Tolstikhin et al. (2021), for order books MLPLOB of Berti & Kasneci (2025).
"""

import math

import torch
from torch import Tensor, nn

from tidemark.models.config import NetConfig
from tidemark.models.forward import decays
from tidemark.models.linear import Linear
from tidemark.models.mirror import mirror


class MixBlock(nn.Module):
    """Features, then time: x + MLP over the last axis, then x + MLP over the one before. Shapes (..., steps, width)."""

    def __init__(self, steps: int, width: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.feature = RowBlock(width, expand, dropout)
        self.norm = nn.LayerNorm(width)
        self.time_up = nn.Linear(steps, steps * expand)
        self.time_down = nn.Linear(steps * expand, steps)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.time_down.weight)
        nn.init.zeros_(self.time_down.bias)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.feature(x)
        t = self.norm(mixed).transpose(-1, -2)  # (..., width, steps)
        t = self.time_down(self.drop(_gelu(self.time_up(t))))
        return mixed + t.transpose(-1, -2)  # type: ignore[no-any-return]


class RowBlock(nn.Module):
    """x + MLP(LayerNorm(x)) over the last axis."""

    def __init__(self, width: int, expand: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * expand)
        self.down = nn.Linear(width * expand, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.drop(_gelu(self.up(self.norm(x)))))  # type: ignore[no-any-return]


class BookMixer(nn.Module):
    """Logits of the trend for every decision of a segment of rows.

    Input   (R, L, F) scaled rows, L >= window_rows.
    Output  (R, L - window_rows + 1, H, 3): per horizon an odd score (up against down), an even one (flat against moving)
            and an odd auxiliary estimate of the move in its own sd, used in training only.
    """

    order: Tensor
    sign: Tensor
    skip_pool: Tensor

    def __init__(self, config: NetConfig, names: tuple[str, ...], horizons: int) -> None:
        super().__init__()
        order, sign = mirror(names)
        self.config = config
        self.horizons = horizons
        steps = config.latents or config.window_rows
        self.register_buffer("order", torch.from_numpy(order), persistent=False)
        self.register_buffer("sign", torch.from_numpy(sign), persistent=False)
        self.stem = nn.Linear(len(names), config.width)
        self.rows = nn.ModuleList(RowBlock(config.width, config.expand, config.dropout) for _ in range(config.row_blocks))
        self.pool = nn.Parameter(torch.from_numpy(decays(config.window_rows, config.latents))) if config.latents else None
        self.mix = nn.ModuleList(MixBlock(steps, config.width, config.expand, config.dropout) for _ in range(config.mix_blocks))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(steps * config.width, 3 * horizons)
        self.skip = nn.Linear(config.skip_steps * len(names), 3 * horizons).requires_grad_(False) if config.skip_steps else None
        self.register_buffer("skip_pool", torch.from_numpy(decays(config.window_rows, config.skip_steps)), persistent=False)
        self.drop = nn.Dropout(config.dropout)
        self._bands: dict[int, Tensor] = {}
        for layer in (self.head, self.skip):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, rows: Tensor) -> Tensor:
        straight = self._one_way(rows)
        mirrored = self._one_way(rows[..., self.order] * self.sign)
        odd = straight - mirrored
        even = straight + mirrored
        return torch.stack([odd[..., 0], even[..., 1], odd[..., 2]], dim=-1)

    def set_linear(self, linear: Linear) -> None:
        """Give the linear path its fitted weights; training leaves them as they are."""
        assert self.skip is not None, "this network has no linear path"
        with torch.no_grad():
            self.skip.weight.copy_(torch.from_numpy(linear.weight))
            self.skip.bias.copy_(torch.from_numpy(linear.bias))

    def _one_way(self, rows: Tensor) -> Tensor:
        """(R, L, F) → (R, P, H, 3), before symmetry is enforced."""
        h = self.stem(rows)  # (R, L, d)
        for block in self.rows:
            h = block(h)
        h = self._pooled(h, self.pool)  # (R, P, K, d)
        for block in self.mix:
            h = block(h)
        out = self.head(self.drop(self.norm(h)).flatten(-2))  # (R, P, 3H)
        if self.skip is not None:
            out = out + self.skip(self._pooled(rows, self.skip_pool).flatten(-2))
        return out.unflatten(-1, (self.horizons, 3))  # type: ignore[no-any-return]

    def _pooled(self, h: Tensor, pool: Tensor | None) -> Tensor:
        """Every window of (R, L, c) as its time steps, (R, P, K, c); `pool` (T, K) weighs rows, None keeps them all."""
        if pool is None:
            return h.unfold(1, self.config.window_rows, 1).transpose(-1, -2)  # a view
        band = self._skip_band(h.shape[1]) if pool is self.skip_pool else _band(pool, h.shape[1])  # (P, K, L)
        pooled = band.flatten(0, 1) @ h
        return pooled.view(len(h), *band.shape[:2], h.shape[-1])

    def _skip_band(self, length: int) -> Tensor:
        """The linear path's band matrix; its weights are fixed, so one is kept for each length of segment."""
        if length not in self._bands:
            self._bands[length] = _band(self.skip_pool, length)
        return self._bands[length]


def _band(pool: Tensor, length: int) -> Tensor:
    """(P, K, L) matrix whose row (p, k) is column k of `pool` (T, K) shifted to the window that starts at row p.

    One matrix product with it pools every window of a segment; copying the windows out would cost ten times more.
    """
    rows = pool.shape[0]
    shift = torch.arange(length) - torch.arange(length - rows + 1)[:, None]  # (P, L): row l's place in window p
    inside = (shift >= 0) & (shift < rows)
    weights = pool[shift.clamp(0, rows - 1)] * inside[..., None]  # (P, L, K)
    return weights.transpose(1, 2)


def class_logits(out: Tensor) -> Tensor:
    """(..., 3) scores as logits of DOWN, FLAT, UP."""
    return torch.stack([-out[..., 0], out[..., 1], out[..., 0]], dim=-1)


def _gelu(x: Tensor) -> Tensor:
    return nn.functional.gelu(x, approximate="tanh")


def parameter_count(model: nn.Module) -> int:
    """Numbers that were learnt, the frozen linear path's included."""
    return sum(math.prod(p.shape) for p in model.parameters())
