// Changes to a model that are applied while it runs, without touching its weights: low-rank adapters (LoRA) and control
// vectors. Any number of sequences of one pass may use different ones, with different strengths.
#ifndef INLAY_WEIGHTS_ADAPTER_HPP_
#define INLAY_WEIGHTS_ADAPTER_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/finite.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/lora_file.hpp"
#include "inlay/formats/codec.hpp"
#include "inlay/weights/tensor_roles.hpp"
#include "inlay/weights/weight_source.hpp"

INLAY_BEGIN_NAMESPACE

// The matrices that an adapter may change. What is not among them (positions and types of tokens, heads behind a pooled vector,
// what makes the inputs of each layer's own, how streams are made of the residual) can be merged into the weights.
inline constexpr std::array kAdaptedRoles = {
    // Of the model.
    TensorRole::kTokenEmbedding, TensorRole::kOutput,
    // Of a layer.
    TensorRole::kQuery, TensorRole::kKey, TensorRole::kValue, TensorRole::kQueryGate, TensorRole::kAttentionOutput,
    TensorRole::kGate, TensorRole::kUp, TensorRole::kDown, TensorRole::kRouter, TensorRole::kExpertGate, TensorRole::kExpertUp,
    TensorRole::kExpertDown, TensorRole::kSharedGate, TensorRole::kSharedUp, TensorRole::kSharedDown,
    TensorRole::kLatentQueryDown, TensorRole::kLatentQueryUp, TensorRole::kLatentDown, TensorRole::kLatentKeys,
    TensorRole::kLatentKeyRows, TensorRole::kLatentValues, TensorRole::kStateInput, TensorRole::kStateGate,
    TensorRole::kStateStrength, TensorRole::kStateStep, TensorRole::kStateOutput, TensorRole::kLayerInputGate,
    TensorRole::kLayerInputOutput, TensorRole::kBypassDown, TensorRole::kBypassUp};

// The place of a role in kAdaptedRoles.
constexpr std::optional<std::size_t> AdaptedIndex(TensorRole role) {
  for (std::size_t i = 0; i < kAdaptedRoles.size(); ++i) {
    if (kAdaptedRoles[i] == role) return i;
  }
  return {};
}

// W x becomes W x + strength * up^T (down x), for each of the matrices W [rows, cols] of a tensor. Row t of a table of embeddings
// becomes W_t + strength * up^T down_t.
struct LowRankChange {
  const float* down = nullptr;  // [rank, cols], of each matrix; [rows, rank] of a table; nullptr: nothing is changed
  const float* up = nullptr;    // [rank, rows] of each matrix, [rank, cols] of a table; with the file's own scale in it
  std::size_t rank = 0;
  std::size_t down_step = 0;    // from one matrix to the next; 0: all have the same
  std::size_t up_step = 0;
};

namespace detail {

// Decodes rows [begin, begin + rows) of a matrix, times `scale`: value (r, c) goes to out[r * row_step + c * col_step].
// False when a result is not finite.
inline bool DecodeScaled(const SourceTensor& tensor, std::size_t cols, std::size_t begin, std::size_t rows, float scale,
                         std::size_t row_step, std::size_t col_step, float* out) {
  constexpr std::size_t kPiece = 256;
  std::array<float, kPiece> values;
  bool finite = true;
  for (std::size_t r = 0; r < rows; ++r) {
    const std::byte* const row = tensor.data + tensor.RowAt(begin + r) * RowBytes(tensor.type, cols);
    for (std::size_t c = 0; c < cols; c += kPiece) {
      const std::size_t count = std::min(kPiece, cols - c);
      DecodeRow(tensor.type, row + RowBytes(tensor.type, c), count, values.data());
      for (std::size_t i = 0; i < count; ++i) {
        const float value = values[i] * scale;
        finite = finite && IsFinite(value);
        out[r * row_step + (c + i) * col_step] = value;
      }
    }
  }
  return finite;
}

}  // namespace detail

// A low-rank adapter bound to a configuration. Views memory that the caller owns; the file is not needed any more.
class LoraAdapter {
 public:
  // Bytes that Create takes from an arena, exactly. Errors: those of Create.
  static Result<std::size_t> MemoryBytes(const ModelConfig& config, const GgufFile& file) {
    MemoryCounter counter;
    INLAY_CHECK_OK(Build(config, file, counter));
    return counter.used();
  }

  // Errors: those of LoraFile::Open; kMismatch (another architecture, a shape or a tensor that the model does not have),
  // kUnsupported (a matrix that is not one of kAdaptedRoles), kOutOfMemory. The arena is then as it was.
  static Result<LoraAdapter> Create(const ModelConfig& config, const GgufFile& file, Arena& arena) {
    const Arena before = arena;
    Result<LoraAdapter> adapter = Build(config, file, arena);
    if (!adapter) arena = before;
    return adapter;
  }

  bool IsFor(const ModelConfig& config) const { return config_ == config; }
  // The largest rank of its changes.
  std::size_t rank() const { return rank_; }
  // What happens to the tensor of this role, one of kAdaptedRoles; `layer` is 0 for those of the model.
  const LowRankChange& change(TensorRole role, std::size_t layer) const { return changes_[Index({role, static_cast<std::uint32_t>(layer)})]; }

 private:
  explicit LoraAdapter(const ModelConfig& config) : config_(config) {}

  static std::size_t Index(TensorId id) { return id.layer * kAdaptedRoles.size() + *AdaptedIndex(id.role); }

  template <class Memory>
  static Result<LoraAdapter> Build(const ModelConfig& config, const GgufFile& file, Memory& memory) {
    INLAY_ASSIGN_OR_RETURN(const LoraFile lora, LoraFile::Open(file));
    if (lora.architecture() != Name(config.architecture)) {
      return FailAt(ErrorCode::kMismatch, file.Find("general.architecture")->offset, "general.architecture",
                    "the adapter is for \"", lora.architecture(), "\", the model is \"", Name(config.architecture), "\"");
    }
    LoraAdapter adapter(config);
    INLAY_ASSIGN_OR_RETURN(adapter.changes_, memory.template Allocate<LowRankChange>(
                                                 std::size_t{config.layers} * kAdaptedRoles.size(), "adapter"));
    std::fill(adapter.changes_.begin(), adapter.changes_.end(), LowRankChange{});
    INLAY_CHECK_OK(lora.ForPairs([&](const LoraPair& pair) { return adapter.Bind(lora, pair, memory); }));
    return adapter;
  }

  template <class Memory>
  Result<void> Bind(const LoraFile& lora, const LoraPair& pair, Memory& memory) {
    const TextBuffer<96> field("tensor ", pair.a.name);
    // The tensor that is changed, as if it were in a file: a name and a shape.
    GgufTensor base = pair.a;
    base.name = pair.base;
    base.dims = {pair.cols, pair.rows, pair.count, 1};
    const TensorParts parts = PartsOf(config_, base);
    if (parts.count == 0) {
      return FailAt(ErrorCode::kMismatch, pair.a.record, field.view(), "changes ", pair.base, ", which is not part of a ",
                    Name(config_.architecture), " model with ", config_.layers, " layers");
    }
    for (std::size_t i = 0; i < parts.count; ++i) {
      const TensorRole role = parts.ids[i].role;
      if (!AdaptedIndex(role) || pair.table != (role == TensorRole::kTokenEmbedding)) {
        return FailAt(ErrorCode::kUnsupported, pair.a.record, field.view(), "changes ", pair.base,
                      ", which no adapter changes while a model runs; merge it into the weights");
      }
    }
    const PartsLayout whole = LayoutOf(config_, parts, pair.count);
    if (pair.cols != whole.cols || pair.rows != whole.rows || pair.count != whole.planes) {
      return FailAt(ErrorCode::kMismatch, pair.a.record, field.view(), "is for [", pair.rows, ", ", pair.cols, "], ", pair.count,
                    " of them; the model's is [", whole.rows, ", ", whole.cols, "], ", whole.planes, " of them");
    }
    LowRankChange change;
    change.rank = pair.rank;
    rank_ = std::max(rank_, pair.rank);
    // Parts of a tensor that the file has in one share what comes first.
    const SourceTensor a{pair.a.data.data(), pair.a.type->type}, b{pair.b.data.data(), pair.b.type->type};
    const std::size_t a_cols = static_cast<std::size_t>(pair.a.cols()), a_rows = static_cast<std::size_t>(pair.a.rows());
    INLAY_ASSIGN_OR_RETURN(const std::span<float> down, memory.template Allocate<float>(a_rows * a_cols, "adapter"));
    bool finite = down.empty() || detail::DecodeScaled(a, a_cols, 0, a_rows, 1.0f, a_cols, 1, down.data());
    change.down = down.data();
    change.down_step = pair.a.dims[2] == 1 ? 0 : pair.rank * a_cols;
    std::size_t offset = 0;  // in rows of B
    for (std::size_t i = 0; i < parts.count && finite; ++i) {
      const TensorShape shape = ShapeOf(config_, parts.ids[i]);
      const std::size_t rows = pair.table ? shape.cols : shape.rows, run = RunOfPart(config_, parts, i);
      const SourceTensor part{b.data + offset * RowBytes(b.type, pair.rank), b.type, run, whole.period};
      offset += run != 0 ? run : rows;
      change.up_step = pair.rank * rows;
      INLAY_ASSIGN_OR_RETURN(const std::span<float> up,
                             memory.template Allocate<float>(shape.count * change.up_step, "adapter"));
      for (std::size_t m = 0; m < shape.count && finite && !up.empty(); ++m) {
        finite = detail::DecodeScaled(part, pair.rank, m * rows, rows, lora.Scale(pair.rank), 1, rows, &up[m * change.up_step]);
      }
      change.up = up.data();
      if (changes_.empty()) continue;  // only counted
      LowRankChange& to = changes_[Index(parts.ids[i])];
      if (to.down != nullptr) return FailAt(ErrorCode::kMismatch, pair.a.record, field.view(), "changes a matrix that another changes too");
      to = change;
    }
    if (finite) return {};
    return FailAt(ErrorCode::kNonFinite, pair.b.offset, field.view(), "holds values that are not finite when scaled by alpha / rank");
  }

  ModelConfig config_;
  std::span<LowRankChange> changes_;  // [layers, kAdaptedRoles.size()]; those of the model are in layer 0
  std::size_t rank_ = 0;
};

// A direction per layer that is added to the residual stream behind it: "direction.N" behind layer N, counted from 0 (the first
// layer has none). A view of the file, which must outlive it and be aligned to 4 bytes.
class ControlVector {
 public:
  // Errors: kMismatch (not such a file, or for another architecture or dimension), kUnsupported (not float32), kNonFinite.
  static Result<ControlVector> Open(const ModelConfig& config, const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view architecture, file.GetString("general.architecture"));
    if (architecture != "controlvector") {
      return FailAt(ErrorCode::kMismatch, file.Find("general.architecture")->offset, "general.architecture", "is \"", architecture,
                    "\", must be \"controlvector\"");
    }
    if (const auto hint = file.Find("controlvector.model_hint")) {
      INLAY_ASSIGN_OR_RETURN(const std::string_view wanted, hint->AsString());
      if (wanted != Name(config.architecture)) {
        return FailAt(ErrorCode::kMismatch, hint->offset, hint->key, "is \"", wanted, "\", the model is \"",
                      Name(config.architecture), "\"");
      }
    }
    for (std::size_t i = 0; i < file.tensor_count(); ++i) INLAY_CHECK_OK(CheckTensor(config, file.tensor(i)));
    if (file.tensor_count() == 0) return Fail(ErrorCode::kMissing, "direction.1", "the file has no directions");
    INLAY_CHECK_OK(file.CheckFinite());
    return ControlVector(file, config.dim);
  }

  // [dim]; nullptr where a layer has none. O(log layers).
  const float* direction(std::size_t layer) const {
    const std::optional<GgufTensor> tensor = file_.FindTensor(TextBuffer<32>("direction.", layer).view());
    return tensor ? reinterpret_cast<const float*>(tensor->data.data()) : nullptr;
  }
  std::size_t dim() const { return dim_; }

 private:
  ControlVector(const GgufFile& file, std::size_t dim) : file_(file), dim_(dim) {}

  static Result<void> CheckTensor(const ModelConfig& config, const GgufTensor& tensor) {
    const TextBuffer<96> field("tensor ", tensor.name);
    std::size_t layer = 0;
    std::string_view digits = tensor.name;
    const bool named = digits.starts_with("direction.");
    digits.remove_prefix(named ? 10 : 0);
    const bool number = named && !digits.empty() && digits.size() < 6 && digits[0] != '0' &&
                        digits.find_first_not_of("0123456789") == std::string_view::npos;
    for (const char digit : digits.substr(0, number ? digits.size() : 0)) layer = layer * 10 + static_cast<std::size_t>(digit - '0');
    if (!number || layer >= config.layers) {
      return FailAt(ErrorCode::kMismatch, tensor.record, field.view(), "is not direction.N of a model with ", config.layers, " layers");
    }
    if (tensor.type == nullptr || tensor.type->type != WeightType::kF32) {
      return FailAt(ErrorCode::kUnsupported, tensor.record, field.view(), "is not of type F32");
    }
    if (tensor.dims[0] != config.dim || tensor.rows() != 1) {
      return FailAt(ErrorCode::kMismatch, tensor.record, field.view(), "has ", tensor.dims[0], " x ", tensor.rows(),
                    " values, the model's dimension is ", config.dim);
    }
    return {};
  }

  GgufFile file_;
  std::size_t dim_ = 0;
};

// One adapter in use.
struct LoraUse {
  const LoraAdapter* adapter = nullptr;
  float scale = 1.0f;
};
struct ControlUse {
  const ControlVector* vector = nullptr;
  float scale = 1.0f;
  std::size_t first_layer = 0;  // the range of layers that it is added behind
  std::size_t last_layer = ~std::size_t{0};
};

// What a sequence runs with, in this order. Views of the caller's arrays.
struct Adapters {
  std::span<const LoraUse> loras;
  std::span<const ControlUse> controls;

  bool empty() const { return loras.empty() && controls.empty(); }
  // What SessionOptions::adapter_rank must be at least: the sum of all ranks.
  std::size_t rank() const {
    std::size_t sum = 0;
    for (const LoraUse& use : loras) sum += use.adapter == nullptr ? 0 : use.adapter->rank();
    return sum;
  }
};

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_ADAPTER_HPP_
