// Finds a model's tensors in a file: GGUF or llama2.c (and the configuration of the latter; for GGUF see config_keys.hpp).
// After it, there are roles instead of names.
#ifndef INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_
#define INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_

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

// One tensor as the file stores it: rows of whole blocks, row after row. Points into the file.
struct SourceTensor {
  const std::byte* data = nullptr;
  WeightType type = WeightType::kF32;
};

namespace detail {

// A tensor of a file that holds several of the model's, one after the other: which, by their usual names.
struct FusedTensor {
  std::string_view name;
  std::array<TensorRole, 3> parts;
  std::size_t count;
};
inline constexpr FusedTensor kFusedTensors[] = {
    {"attn_qkv.weight", {TensorRole::kQuery, TensorRole::kKey, TensorRole::kValue}, 3},
    {"attn_qkv.bias", {TensorRole::kQueryBias, TensorRole::kKeyBias, TensorRole::kValueBias}, 3},
    // Also the name of the up projection alone: told apart by the number of rows.
    {"ffn_up.weight", {TensorRole::kGate, TensorRole::kUp}, 2},
};

}  // namespace detail

// What a file's tensor is: one tensor of the model, or several in one, or none (count 0).
struct TensorParts {
  std::array<TensorId, 3> ids;
  std::size_t count = 0;
};
inline TensorParts PartsOf(const ModelConfig& config, const GgufTensor& tensor) {
  TensorParts parts;
  const std::optional<ParsedTensorName> name = SplitTensorName(tensor.name, config.layers);
  if (!name) return parts;
  for (const detail::FusedTensor& fused : detail::kFusedTensors) {
    if (!name->in_layer || fused.name != name->rest) continue;
    bool has_all = true;
    std::size_t rows = 0;
    for (std::size_t i = 0; i < fused.count; ++i) {
      parts.ids[i] = {fused.parts[i], name->layer};
      has_all &= HasRole(config, parts.ids[i]);
      const TensorShape shape = ShapeOf(config, parts.ids[i]);
      rows += IsVector(fused.parts[i]) ? shape.cols : shape.rows;
    }
    const std::uint64_t found = IsVector(fused.parts[0]) ? tensor.dims[0] : tensor.dims[1];
    // Where the name means a single tensor too, only the exact number of rows is the fused one.
    if (has_all && (fused.count == 3 || found == rows)) {
      parts.count = fused.count;
      return parts;
    }
  }
  if (const std::optional<TensorId> id = ParseTensorName(config, tensor.name)) {
    parts.ids[0] = *id;
    parts.count = 1;
  }
  return parts;
}

// Fills `table` (TensorCount(config) entries, by tensor number) from a GGUF file: every tensor that the configuration
// has must be there once, with its exact shape; a tensor that it does not have is an error too. Tensors that a file has in
// one (queries, keys and values; gate and up) are entered one by one.
inline Result<void> BindSource(const ModelConfig& config, const GgufFile& file, std::span<SourceTensor> table) {
  for (SourceTensor& tensor : table) tensor = {};
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const GgufTensor tensor = file.tensor(i);
    const TextBuffer<96> field("tensor ", tensor.name);
    const TensorParts parts = PartsOf(config, tensor);
    if (parts.count == 0) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "is not part of a ", Name(config.architecture),
                    " model with ", config.layers, " layers");
    }
    if (tensor.type == nullptr || !tensor.type->multiplies) {
      const std::string_view name = tensor.type == nullptr ? NameOfUnreadType(tensor.type_id) : tensor.type->name;
      return FailAt(ErrorCode::kUnsupported, tensor.offset, field.view(), "weight type ", tensor.type_id,
                    name.empty() ? "" : " (", name, name.empty() ? "" : ")", " is not one of this version's");
    }
    // Vectors lie in rows where a model has one per expert, matrices in planes.
    const bool vector = IsVector(parts.ids[0].role);
    TensorShape whole = ShapeOf(config, parts.ids[0]);
    for (std::size_t part = 1; part < parts.count; ++part) {
      const TensorShape shape = ShapeOf(config, parts.ids[part]);
      (vector ? whole.cols : whole.rows) += vector ? shape.cols : shape.rows;
    }
    const std::uint64_t rows = vector ? whole.count : whole.rows, planes = vector ? 1 : whole.count;
    if (tensor.dims[0] != whole.cols || tensor.dims[1] != rows || tensor.dims[2] != planes || tensor.dims[3] != 1) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "has shape [", tensor.dims[0], ", ", tensor.dims[1],
                    ", ", tensor.dims[2], "], the configuration needs [", whole.cols, ", ", rows, ", ", planes, "]");
    }
    const std::byte* data = tensor.data.data();
    for (std::size_t part = 0; part < parts.count; ++part) {
      const TensorShape shape = ShapeOf(config, parts.ids[part]);
      SourceTensor& entry = table[TensorIndex(parts.ids[part])];
      if (entry.data != nullptr) {
        return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "holds ",
                      TensorName(config, parts.ids[part]).view(), ", which the file has twice");
      }
      entry = {data, tensor.type->type};
      if (vector && parts.count > 1 && shape.cols % tensor.type->block_values != 0) {
        return FailAt(ErrorCode::kUnsupported, tensor.offset, field.view(), "a fused bias of type ", tensor.type->name);
      }
      data += shape.rows * RowBytes(tensor.type->type, shape.cols);
    }
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (HasRole(config, id) && table[i].data == nullptr) {
      const TensorShape shape = ShapeOf(config, id);
      return Fail(ErrorCode::kMissing, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(),
                  "the file has no such tensor; a ", Name(config.architecture), " model with ", config.layers,
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
