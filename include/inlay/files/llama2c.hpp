// Reads the checkpoints and tokenizers of llama2.c: raw tensors behind a header of a few integers.
// Source: https://github.com/karpathy/llama2.c, export.py, run.c and runq.c; versions 0 (legacy, float32), 1 (float32) and
// 2 (8-bit integers in groups with a float32 scale each).
#ifndef INLAY_FILES_LLAMA2C_HPP_
#define INLAY_FILES_LLAMA2C_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>

#include "inlay/core/checked.hpp"
#include "inlay/core/finite.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/blocks.hpp"
#include "inlay/formats/float16.hpp"

INLAY_BEGIN_NAMESPACE

static_assert(std::endian::native == std::endian::little, "checkpoints are read in place: little-endian targets only");

// A checkpoint's dimensions; all at least 1.
struct Llama2cDims {
  std::uint32_t dim = 0;
  std::uint32_t ffn_dim = 0;
  std::uint32_t layers = 0;
  std::uint32_t heads = 0;     // divides dim
  std::uint32_t kv_heads = 0;  // divides heads
  std::uint32_t vocab = 0;
  std::uint32_t context = 0;
  bool tied_embeddings = false;  // the classifier is the embedding table

  std::uint32_t head_dim() const { return dim / heads; }
  std::uint32_t kv_dim() const { return head_dim() * kv_heads; }
};

inline constexpr std::uint32_t kQ8_0Values = 32;  // values of a block of Q8_0

// A matrix of a checkpoint, row-major. Views the file.
struct Llama2cMatrix {
  std::span<const float> values;        // empty in a quantised checkpoint
  std::span<const std::int8_t> levels;  // empty in one of floats
  std::span<const float> scales;        // of each group_size() levels in a row
};

// An opened checkpoint: views of the file, which must outlive it. Matrices are [out, in]. The rotary pairs of wq and wk are
// adjacent elements (2i, 2i + 1).
class Llama2cCheckpoint {
 public:
  // The file must start at a multiple of 4 bytes in memory. Errors: kTruncated, kBadFile (a dimension or group size that is
  // zero, negative or does not divide; more bytes than the dimensions say), kTooLarge, kUnsupported (another version; a
  // quantised checkpoint whose groups or rows are not whole blocks of Q8_0). Reads only the header.
  static Result<Llama2cCheckpoint> Open(std::span<const std::byte> file) {
    if (reinterpret_cast<std::uintptr_t>(file.data()) % alignof(float) != 0) {
      return Fail(ErrorCode::kInvalidArgument, "checkpoint", "must start at a multiple of 4 bytes in memory");
    }
    Llama2cCheckpoint opened;
    std::uint64_t at = 0;
    std::int32_t first = 0;
    INLAY_CHECK_OK(ReadInt(file, 0, "header", first));
    if (static_cast<std::uint32_t>(first) == kMagic) {
      INLAY_CHECK_OK(opened.ReadHeader(file));
      at = kHeaderBytes;
    } else {
      INLAY_CHECK_OK(opened.ReadDims(file, 0));
      at = 7 * sizeof(std::int32_t);
    }
    INLAY_CHECK_OK(opened.PlaceTensors(file, at, at != kHeaderBytes));
    return opened;
  }

  const Llama2cDims& dims() const { return dims_; }
  // Levels per scale of a quantised checkpoint, a multiple of 32; 0 where matrices are floats.
  std::uint32_t group_size() const { return group_size_; }

  Llama2cMatrix token_embedding() const { return Matrix(kEmbedding); }                                   // [vocab, dim]
  std::span<const float> attention_norm(std::size_t layer) const { return Vector(kAttentionNorm, layer); }  // [dim]
  Llama2cMatrix wq(std::size_t layer) const { return Matrix(kWq, layer); }                               // [dim, dim]
  Llama2cMatrix wk(std::size_t layer) const { return Matrix(kWk, layer); }                               // [kv_dim, dim]
  Llama2cMatrix wv(std::size_t layer) const { return Matrix(kWv, layer); }                               // [kv_dim, dim]
  Llama2cMatrix wo(std::size_t layer) const { return Matrix(kWo, layer); }                               // [dim, dim]
  std::span<const float> ffn_norm(std::size_t layer) const { return Vector(kFfnNorm, layer); }           // [dim]
  Llama2cMatrix w1(std::size_t layer) const { return Matrix(kW1, layer); }  // gate [ffn_dim, dim]
  Llama2cMatrix w2(std::size_t layer) const { return Matrix(kW2, layer); }  // down [dim, ffn_dim]
  Llama2cMatrix w3(std::size_t layer) const { return Matrix(kW3, layer); }  // up [ffn_dim, dim]
  std::span<const float> final_norm() const { return Vector(kFinalNorm); }  // [dim]
  // [vocab, dim]; the embedding table itself when it is tied.
  Llama2cMatrix classifier() const { return Matrix(dims_.tied_embeddings ? kEmbedding : kClassifier); }

  // Bytes that all matrices of a quantised checkpoint take as Q8_0; 0 where they are floats.
  std::uint64_t q8_0_bytes() const {
    std::uint64_t blocks = 0;
    for (std::size_t i = 0; i < kTensors && group_size_ != 0; ++i) {
      const Tensor tensor = static_cast<Tensor>(i);
      if (IsMatrix(tensor)) blocks += sizes_[i] / kQ8_0Values * Layers(tensor);
    }
    return blocks * sizeof(BlockQ8_0);
  }

 private:
  static constexpr std::uint32_t kMagic = 0x616B3432;  // "ak42"
  static constexpr std::uint64_t kHeaderBytes = 256;  // of versions 1 and 2

  enum Tensor : std::uint8_t {
    kEmbedding,
    kAttentionNorm,
    kWq,
    kWk,
    kWv,
    kWo,
    kFfnNorm,
    kW1,
    kW2,
    kW3,
    kFinalNorm,
    kRotary,  // tables of cosines and sines, which are computed instead
    kClassifier,
    kTensors,
  };

  Llama2cCheckpoint() = default;

  static Result<void> ReadInt(std::span<const std::byte> file, std::uint64_t at, std::string_view field,
                              std::int32_t& value) {
    if (file.size() < at + sizeof(value)) return FailAt(ErrorCode::kTruncated, file.size(), field, "is cut off");
    std::memcpy(&value, file.data() + at, sizeof(value));
    return {};
  }

  Result<void> ReadDims(std::span<const std::byte> file, std::uint64_t at) {
    struct Field {
      std::string_view name;
      std::uint32_t Llama2cDims::*dim;
    };
    constexpr Field kFields[] = {
        {"dim", &Llama2cDims::dim},        {"hidden_dim", &Llama2cDims::ffn_dim},  {"n_layers", &Llama2cDims::layers},
        {"n_heads", &Llama2cDims::heads},  {"n_kv_heads", &Llama2cDims::kv_heads}, {"vocab_size", &Llama2cDims::vocab},
        {"seq_len", &Llama2cDims::context}};
    const bool legacy = at == 0;
    dims_.tied_embeddings = true;
    for (const Field& field : kFields) {
      std::int32_t value = 0;
      INLAY_CHECK_OK(ReadInt(file, at, field.name, value));
      // In the legacy header a negative vocabulary size says that the classifier has weights of its own.
      if (legacy && field.dim == &Llama2cDims::vocab && value < 0) {
        dims_.tied_embeddings = false;
        value = static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(value));  // the most negative stays negative
      }
      if (value <= 0) return FailAt(ErrorCode::kBadFile, at, field.name, "is ", value, ", must be at least 1");
      dims_.*field.dim = static_cast<std::uint32_t>(value);
      at += sizeof(value);
    }
    if (dims_.dim % dims_.heads != 0) {
      return FailAt(ErrorCode::kBadFile, at - 4 * sizeof(std::int32_t), "n_heads", "is ", dims_.heads,
                    ", must divide dim, which is ", dims_.dim);
    }
    if (dims_.heads % dims_.kv_heads != 0) {
      return FailAt(ErrorCode::kBadFile, at - 3 * sizeof(std::int32_t), "n_kv_heads", "is ", dims_.kv_heads,
                    ", must divide n_heads, which is ", dims_.heads);
    }
    if (dims_.head_dim() % 2 != 0) {
      return FailAt(ErrorCode::kBadFile, at - 4 * sizeof(std::int32_t), "n_heads", "dim / n_heads is ",
                    dims_.head_dim(), ", must be even");
    }
    return {};
  }

  // Magic, version, the seven dimensions, one byte for tied embeddings, the group size where quantised, zeros up to 256 bytes.
  Result<void> ReadHeader(std::span<const std::byte> file) {
    std::int32_t version = 0;
    INLAY_CHECK_OK(ReadInt(file, 4, "version", version));
    if (version != 1 && version != 2) {
      return FailAt(ErrorCode::kUnsupported, 4, "version", "is ", version, "; 0, 1 and 2 are read");
    }
    if (file.size() < kHeaderBytes) {
      return FailAt(ErrorCode::kTruncated, file.size(), "header", "has ", kHeaderBytes, " bytes in version ", version);
    }
    INLAY_CHECK_OK(ReadDims(file, 8));
    constexpr std::uint64_t kTiedAt = 8 + 7 * sizeof(std::int32_t);
    const std::byte tied = file[kTiedAt];
    if (tied > std::byte{1}) {
      return FailAt(ErrorCode::kBadFile, kTiedAt, "shared_classifier", "is ", static_cast<unsigned>(tied),
                    ", must be 0 or 1");
    }
    dims_.tied_embeddings = tied == std::byte{1};
    return version == 2 ? ReadGroupSize(file, kTiedAt + 1) : Result<void>();
  }

  // Every block of 32 values of Q8_0 has one scale: it must be inside one group and one row.
  Result<void> ReadGroupSize(std::span<const std::byte> file, std::uint64_t at) {
    std::int32_t size = 0;
    INLAY_CHECK_OK(ReadInt(file, at, "group_size", size));
    if (size <= 0) return FailAt(ErrorCode::kBadFile, at, "group_size", "is ", size, ", must be at least 1");
    group_size_ = static_cast<std::uint32_t>(size);
    if (group_size_ % kQ8_0Values != 0) {
      return FailAt(ErrorCode::kUnsupported, at, "group_size", "is ", size, ", must be a multiple of ", kQ8_0Values,
                    " to be read as Q8_0; export with such a group size, or as version 1");
    }
    if (dims_.dim % kQ8_0Values != 0 || dims_.ffn_dim % kQ8_0Values != 0) {
      const bool is_dim = dims_.dim % kQ8_0Values != 0;
      return FailAt(ErrorCode::kUnsupported, is_dim ? 8 : 12, is_dim ? "dim" : "hidden_dim", "is ",
                    is_dim ? dims_.dim : dims_.ffn_dim, ", must be a multiple of ", kQ8_0Values,
                    " in a quantised checkpoint to be read as Q8_0; export as version 1");
    }
    return {};
  }

  Result<void> PlaceTensors(std::span<const std::byte> file, std::uint64_t at, bool legacy) {
    const std::uint64_t dim = dims_.dim, kv_dim = dims_.kv_dim(), ffn_dim = dims_.ffn_dim, vocab = dims_.vocab;
    // Products of two 31-bit numbers fit; everything beyond them is checked.
    sizes_ = {};
    sizes_[kEmbedding] = vocab * dim;
    sizes_[kAttentionNorm] = sizes_[kFfnNorm] = sizes_[kFinalNorm] = dim;
    sizes_[kWq] = sizes_[kWo] = dim * dim;
    sizes_[kWk] = sizes_[kWv] = kv_dim * dim;
    sizes_[kW1] = sizes_[kW2] = sizes_[kW3] = ffn_dim * dim;
    sizes_[kRotary] = legacy ? std::uint64_t{dims_.context} * dims_.head_dim() : 0;
    sizes_[kClassifier] = dims_.tied_embeddings ? 0 : vocab * dim;

    constexpr std::array<Tensor, kTensors> kLegacyOrder = {
        kEmbedding, kAttentionNorm, kWq, kWk, kWv, kWo, kFfnNorm, kW1, kW2, kW3, kFinalNorm, kRotary, kClassifier};
    constexpr std::array<Tensor, kTensors> kOrder = {
        kAttentionNorm, kFfnNorm, kFinalNorm, kEmbedding, kWq, kWk, kWv, kWo, kW1, kW2, kW3, kRotary, kClassifier};
    std::uint64_t end = at;
    for (std::size_t i = 0; i < kTensors; ++i) {
      const Tensor tensor = static_cast<Tensor>(i);
      if (group_size_ != 0 && IsMatrix(tensor) && sizes_[i] % group_size_ != 0) {
        return FailAt(ErrorCode::kBadFile, kHeaderBytes, "group_size", "is ", group_size_, ", a matrix of ", sizes_[i],
                      " weights is not made of whole groups");
      }
      std::uint64_t bytes = 0;
      if (!CheckedMultiply(BytesOf(tensor), Layers(tensor), bytes) || !CheckedAdd(end, bytes, end)) {
        return FailAt(ErrorCode::kTooLarge, 0, "header", "the sizes that it gives do not fit 64 bits");
      }
    }
    if (end > file.size()) {
      return FailAt(ErrorCode::kTruncated, file.size(), "checkpoint", "its header asks for ", end,
                    " bytes, the file has ", file.size());
    }
    if (end < file.size()) {
      return FailAt(ErrorCode::kBadFile, end, "checkpoint", "the file goes on for ", file.size() - end,
                    " bytes beyond what its header asks for");
    }
    for (const Tensor tensor : legacy ? kLegacyOrder : kOrder) {
      starts_[tensor] = file.data() + at;
      at += BytesOf(tensor) * Layers(tensor);
    }
    return {};
  }

  static constexpr bool IsMatrix(Tensor tensor) {
    return tensor == kEmbedding || tensor == kClassifier || (tensor >= kWq && tensor <= kWo) || (tensor >= kW1 && tensor <= kW3);
  }
  std::uint64_t Layers(Tensor tensor) const { return tensor >= kAttentionNorm && tensor <= kW3 ? dims_.layers : 1u; }
  // Of one layer. Never more than 4 times a product of two 31-bit numbers.
  std::uint64_t BytesOf(Tensor tensor) const {
    if (group_size_ == 0 || !IsMatrix(tensor)) return sizes_[tensor] * sizeof(float);
    return sizes_[tensor] + sizes_[tensor] / group_size_ * sizeof(float);
  }

  const std::byte* Start(Tensor tensor, std::size_t layer) const {
    INLAY_ASSERT(layer < Layers(tensor));
    return starts_[tensor] + layer * BytesOf(tensor);
  }
  std::span<const float> Vector(Tensor tensor, std::size_t layer = 0) const {
    return {reinterpret_cast<const float*>(Start(tensor, layer)), static_cast<std::size_t>(sizes_[tensor])};
  }
  Llama2cMatrix Matrix(Tensor tensor, std::size_t layer = 0) const {
    if (group_size_ == 0) return {Vector(tensor, layer), {}, {}};
    const std::byte* const start = Start(tensor, layer);
    const std::size_t size = static_cast<std::size_t>(sizes_[tensor]);
    // Levels come in multiples of 32, so the scales behind them are aligned.
    return {{},
            {reinterpret_cast<const std::int8_t*>(start), size},
            {reinterpret_cast<const float*>(start + size), size / group_size_}};
  }

  Llama2cDims dims_;
  std::uint32_t group_size_ = 0;
  std::array<const std::byte*, kTensors> starts_ = {};
  std::array<std::uint64_t, kTensors> sizes_ = {};  // values, of one layer where a tensor has several
};

// Writes a quantised matrix as blocks of Q8_0: the same levels, each block with its group's scale rounded to float16, so each
// weight is within 2^-11 of its value. `blocks` has one entry per 32 levels. kNonFinite: a scale is NaN, infinite or beyond
// float16; kBadFile: a level of -128, which Q8_0 does not have. Cost: reads and writes every weight once.
inline Result<void> EncodeQ8_0(const Llama2cMatrix& matrix, std::span<BlockQ8_0> blocks) {
  const std::size_t blocks_per_scale = blocks.size() / matrix.scales.size();
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const float scale = matrix.scales[i / blocks_per_scale];
    blocks[i].d = F32ToF16(scale);
    if (!IsFinite(F16ToF32(blocks[i].d))) {
      return Fail(ErrorCode::kNonFinite, "scale", "group ", i / blocks_per_scale, " has a scale that is no finite float16");
    }
    const std::span<const std::int8_t> levels = matrix.levels.subspan(i * kQ8_0Values, kQ8_0Values);
    if (std::find(levels.begin(), levels.end(), std::int8_t{-128}) != levels.end()) {
      return Fail(ErrorCode::kBadFile, "weight", i * kQ8_0Values, " or one of the ", kQ8_0Values - 1,
                  " after it is stored as -128, must be -127 to 127");
    }
    std::copy(levels.begin(), levels.end(), blocks[i].qs);
  }
  return {};
}

// A piece of the vocabulary: its bytes (a view of the file) and its merge score.
struct Llama2cPiece {
  std::string_view text;
  float score;
};

// An opened tokenizer.bin: a view of the file, which must outlive it. Pieces are read in the order of their ids:
//   for (inlay::Llama2cPiece piece : tokenizer) ...
class Llama2cTokenizer {
 public:
  class Iterator {
   public:
    using value_type = Llama2cPiece;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::forward_iterator_tag;

    Iterator() = default;
    Iterator(const std::byte* at, std::size_t left) : at_(at), left_(left) {}
    Llama2cPiece operator*() const {
      Llama2cPiece piece{};
      std::memcpy(&piece.score, at_, sizeof(float));
      piece.text = {reinterpret_cast<const char*>(at_ + kPieceHeaderBytes), Length()};
      return piece;
    }
    Iterator& operator++() {
      at_ += kPieceHeaderBytes + Length();
      --left_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    std::size_t Length() const {
      std::uint32_t length = 0;
      std::memcpy(&length, at_ + sizeof(float), sizeof(length));
      return length;
    }
    const std::byte* at_ = nullptr;
    std::size_t left_ = 0;
  };

  // The file does not say how many pieces it has: `vocab` comes from the checkpoint. The whole file is checked:
  // kTruncated when it has fewer pieces, kBadFile when it has more bytes, or a length is negative or beyond the stated
  // maximum; kNonFinite for a score that is NaN or infinite.
  static Result<Llama2cTokenizer> Open(std::span<const std::byte> file, std::size_t vocab) {
    std::int32_t longest = 0;
    if (file.size() < sizeof(longest))
      return FailAt(ErrorCode::kTruncated, file.size(), "max_token_length", "is cut off");
    std::memcpy(&longest, file.data(), sizeof(longest));
    if (longest <= 0) return FailAt(ErrorCode::kBadFile, 0, "max_token_length", "is ", longest, ", must be at least 1");
    if (vocab == 0) return Fail(ErrorCode::kInvalidArgument, "vocab", "must be at least 1");
    std::size_t at = sizeof(longest);
    for (std::size_t i = 0; i < vocab; ++i) {
      const TextBuffer<96> field("token ", i);
      if (file.size() - at < kPieceHeaderBytes) return FailAt(ErrorCode::kTruncated, at, field.view(), "is cut off");
      float score = 0;
      std::int32_t length = 0;
      std::memcpy(&score, file.data() + at, sizeof(score));
      std::memcpy(&length, file.data() + at + sizeof(score), sizeof(length));
      if ((std::bit_cast<std::uint32_t>(score) & 0x7F800000u) == 0x7F800000u) {
        return FailAt(ErrorCode::kNonFinite, at, field.view(), "its score is NaN or infinite");
      }
      if (length < 0 || length > longest) {
        return FailAt(ErrorCode::kBadFile, at + sizeof(score), field.view(), "its length is ", length,
                      ", must be 0 to ", longest);
      }
      at += kPieceHeaderBytes;
      if (static_cast<std::size_t>(length) > file.size() - at) {
        return FailAt(ErrorCode::kTruncated, at, field.view(), "its ", length,
                      " bytes reach beyond the end of the file");
      }
      at += static_cast<std::size_t>(length);
    }
    if (at != file.size()) {
      return FailAt(ErrorCode::kBadFile, at, "tokenizer", "the file goes on for ", file.size() - at, " bytes after ",
                    vocab, " tokens");
    }
    return Llama2cTokenizer(file, vocab, static_cast<std::size_t>(longest));
  }

  std::size_t size() const { return vocab_; }
  // Bytes of the longest piece, as the file states it.
  std::size_t max_token_length() const { return longest_; }
  Iterator begin() const { return {file_.data() + sizeof(std::int32_t), vocab_}; }
  Iterator end() const { return {nullptr, 0}; }

 private:
  static constexpr std::size_t kPieceHeaderBytes = sizeof(float) + sizeof(std::int32_t);

  Llama2cTokenizer(std::span<const std::byte> file, std::size_t vocab, std::size_t longest)
      : file_(file), vocab_(vocab), longest_(longest) {}

  std::span<const std::byte> file_;
  std::size_t vocab_;
  std::size_t longest_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_LLAMA2C_HPP_
