// Finds a model's tensors in a file: GGUF or llama2.c (and the configuration of the latter; for GGUF see config_keys.hpp).
// After it, there are roles instead of names.
#ifndef INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_
#define INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/weights/config_keys.hpp"
#include "inlay/weights/tensor_roles.hpp"

INLAY_BEGIN_NAMESPACE

// One tensor as the file stores it: rows of whole blocks, row after row, or `run` rows out of every `period` (0: all). Points
// into the file.
struct SourceTensor {
  const std::byte* data = nullptr;
  WeightType type = WeightType::kF32;
  std::size_t run = 0;
  std::size_t period = 0;

  // The number of a row among those that `data` points to.
  std::size_t RowAt(std::size_t row) const { return run == 0 ? row : row / run * period + row % run; }
  // How many rows follow each other from `row` on, at most `rows`.
  std::size_t RowsTogether(std::size_t row, std::size_t rows) const {
    return run == 0 ? rows : std::min(rows, run - row % run);
  }
};

namespace detail {

// A tensor of a file that holds several of the model's, one after the other: which, by their usual names.
struct FusedTensor {
  std::string_view name;
  std::array<TensorRole, 3> parts;
  std::size_t count;
  bool alternating = false;  // RunOf rows of each in turn, instead of all rows of one and then those of the next
  StateKind state = StateKind::kNone;  // only in models of this kind; kNone: in all
};
inline constexpr FusedTensor kFusedTensors[] = {
    {"attn_qkv.weight", {TensorRole::kQuery, TensorRole::kKey, TensorRole::kValue}, 3},
    {"attn_qkv.bias", {TensorRole::kQueryBias, TensorRole::kKeyBias, TensorRole::kValueBias}, 3},
    // Also the name of the up projection alone: told apart by the number of rows.
    {"ffn_up.weight", {TensorRole::kGate, TensorRole::kUp}, 2},
    {"ffn_gate_up_exps.weight", {TensorRole::kExpertGate, TensorRole::kExpertUp}, 2, true},
    {"attn_q.weight", {TensorRole::kQuery, TensorRole::kQueryGate}, 2, true},
    {"attn_kv_b.weight", {TensorRole::kLatentKeyRows, TensorRole::kLatentValues}, 2, true},
    {"shortconv.in_proj.weight", {TensorRole::kStateStrength, TensorRole::kStateGate, TensorRole::kStateInput}, 3},
    {"ssm_in.weight", {TensorRole::kStateGate, TensorRole::kStateInput, TensorRole::kStateStep}, 3, false,
     StateKind::kSpace},
    {"ssm_ba.weight", {TensorRole::kStateStrength, TensorRole::kStateStep}, 2, true},
};

// Rows of one head, or of one group of heads, in a tensor whose parts alternate.
constexpr std::size_t RunOf(const ModelConfig& c, TensorRole role) {
  switch (role) {
    case TensorRole::kQuery:
    case TensorRole::kQueryGate: return c.head_dim;
    case TensorRole::kExpertGate:
    case TensorRole::kExpertUp: return c.expert_ffn_dim();
    case TensorRole::kLatentKeyRows: return c.latent.plain_dim(c.rope_dim);
    case TensorRole::kLatentValues: return c.latent.value_dim;
    case TensorRole::kStateStrength:
    case TensorRole::kStateStep: return c.state.groups == 0 ? 1 : c.state.heads / c.state.groups;
    default: return 1;
  }
}

// The name of a tensor that may hold the given one and others; empty when there is none.
constexpr std::string_view FusedNameOf(const ModelConfig& config, TensorId id) {
  for (const FusedTensor& fused : kFusedTensors) {
    bool holds = false, has_all = fused.state == StateKind::kNone || fused.state == config.state.kind;
    for (std::size_t i = 0; i < fused.count; ++i) {
      holds |= fused.parts[i] == id.role;
      has_all &= HasRole(config, {fused.parts[i], id.layer});
    }
    if (holds && has_all) return fused.name;
  }
  return {};
}

// Whether a tensor makes keys and values that nobody reads, as its layer shares those of another. Some files have them.
constexpr bool IsOfSharedKeys(const ModelConfig& config, const ParsedTensorName& name) {
  return config.SharesKeys(name.layer) &&
         (name.rest == "attn_k.weight" || name.rest == "attn_v.weight" || name.rest == "attn_k_norm.weight");
}

}  // namespace detail

// What a file's tensor is: one tensor of the model, or several in one, or none (count 0).
struct TensorParts {
  std::array<TensorId, 3> ids;
  std::size_t count = 0;
  bool alternating = false;
};
inline TensorParts PartsOf(const ModelConfig& config, const GgufTensor& tensor) {
  TensorParts parts;
  const std::optional<ParsedTensorName> name = SplitTensorName(tensor.name, config.layers);
  if (!name) return parts;
  for (const detail::FusedTensor& fused : detail::kFusedTensors) {
    if (!name->in_layer || fused.name != name->rest) continue;
    bool has_all = fused.state == StateKind::kNone || fused.state == config.state.kind;
    std::size_t rows = 0;
    for (std::size_t i = 0; i < fused.count; ++i) {
      parts.ids[i] = {fused.parts[i], name->layer};
      has_all &= HasRole(config, parts.ids[i]);
      const TensorShape shape = ShapeOf(config, parts.ids[i]);
      rows += IsVector(fused.parts[i]) ? shape.cols : shape.rows * shape.count;
    }
    const std::uint64_t found = IsVector(fused.parts[0]) ? tensor.dims[0] : tensor.rows();
    // Where the name means a single tensor too, only the exact number of rows is the fused one.
    if (has_all && (fused.count == 3 || found == rows)) {
      parts.count = fused.count;
      parts.alternating = fused.alternating;
      return parts;
    }
  }
  if (const std::optional<TensorId> id = ParseTensorName(config, tensor.name)) {
    parts.ids[0] = *id;
    parts.count = 1;
  }
  return parts;
}

// How a file's tensor of these parts lies in the file: rows of `cols` values, in planes where there are several matrices.
struct PartsLayout {
  std::uint64_t cols = 0;
  std::uint64_t rows = 0;
  std::uint64_t planes = 1;
  std::size_t period = 0;  // of alternating parts: rows until the first begins again
};
// `planes`: those of the file's tensor; parts that alternate may lie in planes or in one.
inline PartsLayout LayoutOf(const ModelConfig& config, const TensorParts& parts, std::uint64_t planes) {
  // Vectors lie in rows where a model has one per expert, matrices in planes.
  const bool vector = IsVector(parts.ids[0].role);
  TensorShape whole = ShapeOf(config, parts.ids[0]);
  const bool in_planes = parts.alternating && planes == whole.count;
  PartsLayout layout;
  layout.period = parts.alternating ? detail::RunOf(config, parts.ids[0].role) : 0;
  if (parts.alternating) whole = {whole.rows * whole.count, whole.cols};
  for (std::size_t part = 1; part < parts.count; ++part) {
    const TensorShape shape = ShapeOf(config, parts.ids[part]);
    (vector ? whole.cols : whole.rows) += vector ? shape.cols : shape.rows * shape.count;
    if (parts.alternating) layout.period += detail::RunOf(config, parts.ids[part].role);
  }
  layout.cols = whole.cols;
  layout.planes = vector ? 1 : in_planes ? planes : whole.count;
  layout.rows = vector ? whole.count : parts.alternating ? whole.rows / layout.planes : whole.rows;
  return layout;
}
// Of how many rows in turn a part is; 0: of all, one after the other.
inline std::size_t RunOfPart(const ModelConfig& config, const TensorParts& parts, std::size_t part) {
  return parts.alternating ? detail::RunOf(config, parts.ids[part].role) : 0;
}

// Fills `table` (TensorCount(config) entries, by tensor number) from a GGUF file: every tensor that the configuration
// has must be there once, with its exact shape; a tensor that it does not have is an error too. Tensors that a file has in
// one (queries, keys and values; gate and up) are entered one by one.
inline Result<void> BindSource(const ModelConfig& config, const GgufFile& file, std::span<SourceTensor> table) {
  for (SourceTensor& tensor : table) tensor = {};
  // Behind the model's own layers a file may have some that predict further tokens; they are left out.
  const std::uint32_t blocks = config.layers + detail::PredictingLayers(file, Name(config.architecture));
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const GgufTensor tensor = file.tensor(i);
    const TextBuffer<96> field("tensor ", tensor.name);
    const std::optional<ParsedTensorName> parsed = SplitTensorName(tensor.name, blocks);
    if (parsed && parsed->in_layer && parsed->layer >= config.layers) continue;
    const TensorParts parts = PartsOf(config, tensor);
    if (parts.count == 0 && parsed && parsed->in_layer && detail::IsOfSharedKeys(config, *parsed)) continue;
    if (parts.count == 0) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "is not part of a ", Name(config.architecture),
                    " model with ", config.layers, " layers");
    }
    if (tensor.type == nullptr || !tensor.type->multiplies) {
      const std::string_view name = tensor.type == nullptr ? NameOfUnreadType(tensor.type_id) : tensor.type->name;
      return FailAt(ErrorCode::kUnsupported, tensor.offset, field.view(), "weight type ", tensor.type_id,
                    name.empty() ? "" : " (", name, name.empty() ? "" : ")", " is not one of this version's");
    }
    const bool vector = IsVector(parts.ids[0].role);
    const PartsLayout whole = LayoutOf(config, parts, tensor.dims[2]);
    if (tensor.dims[0] != whole.cols || tensor.dims[1] != whole.rows || tensor.dims[2] != whole.planes || tensor.dims[3] != 1) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "has shape [", tensor.dims[0], ", ", tensor.dims[1],
                    ", ", tensor.dims[2], "], the configuration needs [", whole.cols, ", ", whole.rows, ", ", whole.planes, "]");
    }
    const std::byte* data = tensor.data.data();
    for (std::size_t part = 0; part < parts.count; ++part) {
      const TensorShape shape = ShapeOf(config, parts.ids[part]);
      SourceTensor& entry = table[TensorIndex(parts.ids[part])];
      if (entry.data != nullptr) {
        return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "holds ",
                      TensorName(config, parts.ids[part]).view(), ", which the file has twice");
      }
      const std::size_t run = RunOfPart(config, parts, part);
      entry = {data, tensor.type->type, run, whole.period};
      if (vector && parts.count > 1 && shape.cols % tensor.type->block_values != 0) {
        return FailAt(ErrorCode::kUnsupported, tensor.offset, field.view(), "a fused bias of type ", tensor.type->name);
      }
      data += (parts.alternating ? run : shape.rows) * RowBytes(tensor.type->type, shape.cols);
    }
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (HasRole(config, id) && table[i].data == nullptr) {
      const TensorShape shape = ShapeOf(config, id);
      const std::string_view fused = detail::FusedNameOf(config, id);
      return Fail(ErrorCode::kMissing, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(),
                  "the file has no such tensor", fused.empty() ? "" : ", nor one named ", fused,
                  fused.empty() ? "" : " that would hold it", "; a ", Name(config.architecture), " model with ", config.layers,
                  " layers has it, of [", shape.cols, ", ", shape.rows, shape.count == 1 ? "" : ", more", "]");
    }
  }
  return {};
}

// The configuration of a llama2.c checkpoint (adjacent rotary pairs, base 10000, epsilon 1e-5).
inline Result<ModelConfig> ReadConfig(const Llama2cCheckpoint& file) {
  const Llama2cDims& dims = file.dims();
  ModelConfig config;
  config.dim = dims.dim;
  config.layers = dims.layers;
  config.heads = dims.heads;
  config.kv_heads = dims.kv_heads;
  config.head_dim = dims.head_dim();
  config.ffn_dim = dims.ffn_dim;
  config.vocab = dims.vocab;
  config.context = dims.context;
  config.rope_dim = config.head_dim;
  config.tied_embeddings = dims.tied_embeddings;
  INLAY_CHECK_OK(Validate(config));
  return config;
}

// A quantised checkpoint's matrices are written to `converted` as Q8_0 (file.q8_0_bytes() bytes, which the table then refers
// to). Errors: those of EncodeQ8_0, naming the tensor.
inline Result<void> BindSource(const ModelConfig& config, const Llama2cCheckpoint& file, std::span<SourceTensor> table,
                               std::span<std::byte> converted = {}) {
  if (converted.size() < file.q8_0_bytes()) {
    return Fail(ErrorCode::kOutOfMemory, "checkpoint", "its matrices take ", file.q8_0_bytes(), " bytes as Q8_0, the buffer has ",
                converted.size());
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const TensorId id = TensorAt(i);
    table[i] = {};
    if (!HasRole(config, id)) continue;
    Llama2cMatrix matrix;
    switch (id.role) {
      case TensorRole::kTokenEmbedding: matrix = file.token_embedding(); break;
      case TensorRole::kOutputNorm: matrix.values = file.final_norm(); break;
      case TensorRole::kOutput: matrix = file.classifier(); break;
      case TensorRole::kAttentionNorm: matrix.values = file.attention_norm(id.layer); break;
      case TensorRole::kQuery: matrix = file.wq(id.layer); break;
      case TensorRole::kKey: matrix = file.wk(id.layer); break;
      case TensorRole::kValue: matrix = file.wv(id.layer); break;
      case TensorRole::kAttentionOutput: matrix = file.wo(id.layer); break;
      case TensorRole::kFfnNorm: matrix.values = file.ffn_norm(id.layer); break;
      case TensorRole::kGate: matrix = file.w1(id.layer); break;
      case TensorRole::kUp: matrix = file.w3(id.layer); break;
      case TensorRole::kDown: matrix = file.w2(id.layer); break;
      default: break;  // a checkpoint has no other
    }
    if (matrix.levels.empty()) {
      table[i].data = reinterpret_cast<const std::byte*>(matrix.values.data());
      continue;
    }
    const std::size_t blocks = matrix.levels.size() / kQ8_0Values;
    if (const Result<void> encoded = EncodeQ8_0(matrix, {reinterpret_cast<BlockQ8_0*>(converted.data()), blocks}); !encoded) {
      Error error = encoded.error();
      error.field = TextBuffer<96>("tensor ", TensorName(config, id).view());
      return error;
    }
    table[i] = {converted.data(), WeightType::kQ8_0};
    converted = converted.subspan(blocks * sizeof(BlockQ8_0));
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_
