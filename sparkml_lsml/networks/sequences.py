"""Networks for sequences: recurrent ones, self-attention, and a mean of embeddings.

Rows are sequences of vectors, of the shape (length, features), or of numbers of tokens, of the
shape (length,), with ``vocabulary`` numbers from 0; 0 is padding, and nothing depends on it.
"""

import math

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

Shape = tuple[int, ...]


class Tokens(nn.Module):
    """The first layer of all: vectors as they are, or the embeddings of tokens.

    Parameters
    ----------
    shape : tuple of int
    vocabulary : int or None
        Tokens, padding counted.
    embedding : int
        Numbers a token.
    """

    def __init__(self, shape: Shape, vocabulary: int | None, embedding: int) -> None:
        super().__init__()
        if vocabulary is None and len(shape) != 2:
            raise ValueError(
                f"rows have the shape {list(shape)}: expected inputShape=[length, features], or "
                "[length] and a vocabulary in networkParams"
            )
        if vocabulary is not None and len(shape) != 1:
            raise ValueError(
                f"rows have the shape {list(shape)} and vocabulary={vocabulary}: expected "
                "inputShape=[length]"
            )
        self.size = shape[1] if vocabulary is None else embedding
        self.vocabulary = vocabulary
        if vocabulary is not None:
            self.table = nn.Embedding(vocabulary, embedding, padding_idx=0)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of shape (rows, length, size), and which places hold one.

        Raises
        ------
        ValueError
            If a token is out of range.
        """
        if self.vocabulary is None:
            return x, x.new_ones(x.shape[:2], dtype=torch.bool)
        tokens = x.long()
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.vocabulary:
            raise ValueError(
                f"found tokens from {int(tokens.min())} to {int(tokens.max())}: expected 0, for "
                f"padding, to {self.vocabulary - 1}"
            )
        return self.table(tokens), tokens != 0


class Recurrent(nn.Module):
    """A recurrent network whose last states a dense layer reads."""

    def __init__(
        self, kind: type[nn.RNNBase], tokens: Tokens, outputs: int, units: int, layers: int,
        both_ways: bool, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokens = tokens
        self.cells = kind(
            tokens.size,
            units,
            layers,
            batch_first=True,
            bidirectional=both_ways,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.ways = 2 if both_ways else 1
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.ways * units, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw predictions."""
        vectors, there = self.tokens(x)
        # up to the last token: what follows is padding
        places = torch.arange(1, vectors.shape[1] + 1, device=x.device)
        lengths = (there * places).amax(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.cells(packed)
        if isinstance(state, tuple):  # that of an LSTM has its cells beside it
            state = state[0]
        last = state[-self.ways :].transpose(0, 1).flatten(1)
        return self.head(self.dropout(last))


def gru(
    shape: Shape,
    outputs: int,
    *,
    units: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    vocabulary: int | None = None,
    embedding: int = 50,
    dropout: float = 0.0,
) -> nn.Module:
    """Gated recurrent units over a sequence, and a dense layer over their last state.

    Parameters
    ----------
    shape : tuple of int
        Length and features, or the length of tokens.
    outputs : int
    units, layers : int
    bidirectional : bool
        Whether the sequence is read from its end too.
    vocabulary : int, optional
        Where rows are tokens: how many there are, padding (0) counted.
    embedding : int
        Numbers a token.
    dropout : float
        Between layers, and before the dense one.

    References
    ----------
    Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, EMNLP.
    """
    tokens = Tokens(shape, vocabulary, embedding)
    return Recurrent(nn.GRU, tokens, outputs, units, layers, bidirectional, dropout)


def lstm(
    shape: Shape,
    outputs: int,
    *,
    units: int = 64,
    layers: int = 1,
    bidirectional: bool = False,
    vocabulary: int | None = None,
    embedding: int = 50,
    dropout: float = 0.0,
) -> nn.Module:
    """Long short-term memory over a sequence, with the arguments of `gru`.

    References
    ----------
    Hochreiter and Schmidhuber (1997), Long short-term memory, Neural Computation 9.
    """
    tokens = Tokens(shape, vocabulary, embedding)
    return Recurrent(nn.LSTM, tokens, outputs, units, layers, bidirectional, dropout)


class Attention(nn.Module):
    """Self-attention over a sequence whose mean a dense layer reads."""

    def __init__(
        self, tokens: Tokens, outputs: int, units: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        if units % heads or units % 2:
            raise ValueError(
                f"units={units} and heads={heads}: expected an even number of units that the "
                "heads divide"
            )
        self.tokens, self.units = tokens, units
        self.entry = nn.Linear(tokens.size, units)
        layer = nn.TransformerEncoderLayer(
            units, heads, 2 * units, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(units)
        self.head = nn.Linear(units, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw predictions."""
        vectors, there = self.tokens(x)
        # a row of padding alone attends to its first place: to nothing, it would be NaN
        seen = there.clone()
        seen[:, 0] |= ~there.any(dim=1)
        inner = self.entry(vectors) + positions(vectors.shape[1], self.units).to(vectors)
        inner = self.norm(self.encoder(inner, src_key_padding_mask=~seen))
        shares = seen.to(inner)[:, :, None]
        return self.head((inner * shares).sum(dim=1) / shares.sum(dim=1))


def positions(length: int, units: int) -> torch.Tensor:
    """Sines and cosines of each place, shape (length, units); no weights, for any length."""
    place = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, units, 2, dtype=torch.float32) * (-math.log(1e4) / units))
    found = torch.empty(length, units)
    found[:, 0::2], found[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return found


def attention(
    shape: Shape,
    outputs: int,
    *,
    units: int = 64,
    layers: int = 2,
    heads: int = 4,
    vocabulary: int | None = None,
    embedding: int = 50,
    dropout: float = 0.1,
) -> nn.Module:
    """An encoder of self-attention, and a dense layer over the mean of its places.

    Parameters
    ----------
    shape : tuple of int
        Length and features, or the length of tokens.
    outputs : int
    units, layers, heads : int
        Of the encoder.
    vocabulary : int, optional
        Where rows are tokens: how many there are, padding (0) counted.
    embedding : int
        Numbers a token.
    dropout : float

    References
    ----------
    Vaswani et al. (2017), Attention is all you need, NeurIPS; Xiong et al. (2020), On layer
    normalization in the transformer architecture, ICML (the norm comes first).
    """
    return Attention(Tokens(shape, vocabulary, embedding), outputs, units, layers, heads, dropout)


class Mean(nn.Module):
    """The mean of the embeddings of a row, which a dense layer reads."""

    def __init__(self, tokens: Tokens, outputs: int, dropout: float) -> None:
        super().__init__()
        self.tokens = tokens
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(tokens.size, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raw predictions."""
        vectors, there = self.tokens(x)
        shares = there.to(vectors)[:, :, None]
        mean = (vectors * shares).sum(dim=1) / shares.sum(dim=1).clamp(min=1.0)
        return self.head(self.dropout(mean))


def embeddings(
    shape: Shape, outputs: int, *, vocabulary: int, embedding: int = 50, dropout: float = 0.0
) -> nn.Module:
    """The mean of learned embeddings of tokens: a bag of words in few dimensions.

    Parameters
    ----------
    shape : tuple of int
        The length.
    outputs : int
    vocabulary : int
        Tokens, padding (0) counted.
    embedding : int
        Numbers a token.
    dropout : float

    References
    ----------
    Joulin et al. (2017), Bag of tricks for efficient text classification, EACL.
    """
    return Mean(Tokens(shape, vocabulary, embedding), outputs, dropout)
