// Finds a model's configuration and tensors in a file: GGUF or llama2.c. The only place that knows a file's key and
// tensor names; after it, there are roles.
#ifndef INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_
#define INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_

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
#include "inlay/weights/tensor_roles.hpp"

INLAY_BEGIN_NAMESPACE

// One tensor as the file stores it: rows of whole blocks, row after row. Points into the file.
struct SourceTensor {
  const std::byte* data = nullptr;
  WeightType type = WeightType::kF32;
};

namespace detail {

// An integer hyperparameter "llama.NAME". Values that do not fit ModelConfig's 32 bits are refused, not cut.
inline Result<std::uint32_t> GgufDimension(const GgufFile& file, std::string_view architecture, std::string_view name,
                                           std::optional<std::uint32_t> fallback = {}) {
  const TextBuffer<96> key(architecture, ".", name);
  if (fallback && !file.Find(key.view())) return *fallback;
  INLAY_ASSIGN_OR_RETURN(const std::uint64_t value, file.GetUnsigned(key.view()));
  if (value > 0xFFFFFFFFu) return Fail(ErrorCode::kTooLarge, key.view(), value, " is beyond any model's size");
  return static_cast<std::uint32_t>(value);
}

inline Result<float> GgufNumber(const GgufFile& file, std::string_view architecture, std::string_view name,
                                float fallback) {
  const TextBuffer<96> key(architecture, ".", name);
  if (!file.Find(key.view())) return fallback;
  return file.GetFloat(key.view());
}

}  // namespace detail

// What a configuration takes from the presence and shape of tensors instead of keys.
struct TensorFacts {
  std::uint32_t vocab = 0;
  bool tied_embeddings = false;
  bool rope_factors = false;
};

// Reads and validates the hyperparameters of a GGUF file. Errors name the key. kUnsupported: another architecture, or a
// feature of this one that the library does not run (named), so that no file is run wrongly.
inline Result<ModelConfig> ReadConfig(const GgufFile& file, const TensorFacts& facts) {
  INLAY_ASSIGN_OR_RETURN(const std::string_view architecture, file.GetString("general.architecture"));
  if (architecture != Name(Architecture::kLlama)) {
    return Fail(ErrorCode::kUnsupported, "general.architecture", "\"", architecture, "\" is not one of: llama");
  }
  const auto dimension = [&](std::string_view name, std::optional<std::uint32_t> fallback = {}) {
    return detail::GgufDimension(file, architecture, name, fallback);
  };
  ModelConfig config;
  INLAY_ASSIGN_OR_RETURN(config.dim, dimension("embedding_length"));
  INLAY_ASSIGN_OR_RETURN(config.layers, dimension("block_count"));
  INLAY_ASSIGN_OR_RETURN(config.heads, dimension("attention.head_count"));
  INLAY_ASSIGN_OR_RETURN(config.kv_heads, dimension("attention.head_count_kv", config.heads));
  INLAY_ASSIGN_OR_RETURN(config.ffn_dim, dimension("feed_forward_length"));
  INLAY_ASSIGN_OR_RETURN(config.context, dimension("context_length"));
  INLAY_ASSIGN_OR_RETURN(config.window, dimension("attention.sliding_window", 0));
  INLAY_ASSIGN_OR_RETURN(config.experts, dimension("expert_count", 0));
  INLAY_ASSIGN_OR_RETURN(config.experts_per_token, dimension("expert_used_count", 0));
  const std::uint32_t even_split = config.heads == 0 ? 0 : config.dim / config.heads;
  INLAY_ASSIGN_OR_RETURN(config.head_dim, dimension("attention.key_length", even_split));
  INLAY_ASSIGN_OR_RETURN(const std::uint32_t value_length, dimension("attention.value_length", config.head_dim));
  if (value_length != config.head_dim) {
    return Fail(ErrorCode::kUnsupported, "llama.attention.value_length", "differs from key_length");
  }
  INLAY_ASSIGN_OR_RETURN(config.rope_dim, dimension("rope.dimension_count", config.head_dim));
  INLAY_ASSIGN_OR_RETURN(config.rope_base, detail::GgufNumber(file, architecture, "rope.freq_base", 10000.0f));
  INLAY_ASSIGN_OR_RETURN(config.norm_epsilon,
                         detail::GgufNumber(file, architecture, "attention.layer_norm_rms_epsilon", 1e-5f));

  if (facts.rope_factors) config.rope_scaling = RopeScaling::kFactors;
  if (file.Find("llama.rope.scaling.type")) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view scaling, file.GetString("llama.rope.scaling.type"));
    if (scaling == "linear") {
      if (facts.rope_factors) {
        return Fail(ErrorCode::kUnsupported, "llama.rope.scaling.type", "linear together with rope_freqs.weight");
      }
      config.rope_scaling = RopeScaling::kLinear;
      INLAY_ASSIGN_OR_RETURN(config.rope_scale, detail::GgufNumber(file, architecture, "rope.scaling.factor", 1.0f));
    } else if (scaling != "none") {
      return Fail(ErrorCode::kUnsupported, "llama.rope.scaling.type", "\"", scaling, "\" is not one of: none, linear");
    }
  }
  config.vocab = facts.vocab;
  config.tied_embeddings = facts.tied_embeddings;
  INLAY_CHECK_OK(Validate(config));
  return config;
}

// The same for a file whose tensors are stored one by one.
inline Result<ModelConfig> ReadConfig(const GgufFile& file) {
  const std::optional<GgufTensor> embedding = file.FindTensor("token_embd.weight");
  if (!embedding) return Fail(ErrorCode::kMissing, "token_embd.weight", "the file has no such tensor");
  if (embedding->n_dims != 2 || embedding->dims[1] > kMaxDimension) {
    return Fail(ErrorCode::kMismatch, "token_embd.weight", "must have two dimensions, [dim, vocab]");
  }
  TensorFacts facts;
  facts.vocab = static_cast<std::uint32_t>(embedding->dims[1]);
  facts.tied_embeddings = !file.FindTensor("output.weight");
  facts.rope_factors = file.FindTensor("rope_freqs.weight").has_value();
  return ReadConfig(file, facts);
}

// Fills `table` (TensorCount(config) entries, by tensor number) from a GGUF file: every tensor that the configuration
// has must be there once, with its exact shape; a tensor that it does not have is an error too.
inline Result<void> BindSource(const ModelConfig& config, const GgufFile& file, std::span<SourceTensor> table) {
  for (SourceTensor& tensor : table) tensor = {};
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const GgufTensor tensor = file.tensor(i);
    const TextBuffer<96> field("tensor ", tensor.name);
    const std::optional<TensorId> id = ParseTensorName(config, tensor.name);
    if (!id) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "is not part of a ", Name(config.architecture),
                    " model with ", config.layers, " layers");
    }
    if (tensor.type == nullptr || !tensor.type->multiplies) {
      const std::string_view name = tensor.type == nullptr ? NameOfUnreadType(tensor.type_id) : tensor.type->name;
      return FailAt(ErrorCode::kUnsupported, tensor.offset, field.view(), "weight type ", tensor.type_id,
                    name.empty() ? "" : " (", name, name.empty() ? "" : ")", " is not one of this version's");
    }
    const TensorShape shape = ShapeOf(config, id->role);
    const std::uint64_t rows = IsVector(id->role) ? 1 : shape.rows;
    if (tensor.dims[0] != shape.cols || tensor.dims[1] != rows || tensor.dims[2] != shape.count || tensor.dims[3] != 1) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "has shape [", tensor.dims[0], ", ", tensor.dims[1],
                    ", ", tensor.dims[2], "], the configuration needs [", shape.cols, ", ", rows, ", ", shape.count, "]");
    }
    table[TensorIndex(*id)] = {tensor.data.data(), tensor.type->type};
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (HasRole(config, id.role) && table[i].data == nullptr) {
      return Fail(ErrorCode::kMissing, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(),
                  "the file has no such tensor");
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
    if (!HasRole(config, id.role)) continue;
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
      case TensorRole::kRopeFactors:
      case TensorRole::kRouter: break;
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
