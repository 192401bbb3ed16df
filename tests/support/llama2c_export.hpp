// Writes a random model as a llama2.c checkpoint, the way llama2.c's export.py does: versions 0, 1 and 2.
#ifndef INLAY_TESTS_SUPPORT_LLAMA2C_EXPORT_HPP_
#define INLAY_TESTS_SUPPORT_LLAMA2C_EXPORT_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "inlay/config/model_config.hpp"
#include "tests/support/gguf_bytes.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

inline std::vector<float> FloatsOf(const FileTensor& tensor) {
  if (tensor.type() != inlay::WeightType::kF32) SetUpFailed("a checkpoint is exported from float32");
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

// Symmetric 8-bit groups: the largest magnitude of a group becomes 127.
struct QuantisedGroups {
  std::vector<std::int8_t> levels;
  std::vector<float> scales;
};
inline QuantisedGroups QuantiseGroups(const std::vector<float>& values, std::size_t group) {
  QuantisedGroups out;
  for (std::size_t at = 0; at < values.size(); at += group) {
    float largest = 0;
    for (std::size_t i = 0; i < group; ++i) largest = std::max(largest, std::abs(values[at + i]));
    const float scale = largest == 0 ? 1.0f : largest / 127.0f;
    out.scales.push_back(scale);
    for (std::size_t i = 0; i < group; ++i) out.levels.push_back(static_cast<std::int8_t>(std::nearbyint(values[at + i] / scale)));
  }
  return out;
}

// `model` is RandomModel(...) of `config`, all float32. `group` is used by version 2.
inline Bytes ExportLlama2c(FileContents& model, const inlay::ModelConfig& config, int version, std::size_t group = 0) {
  Bytes out;
  const auto floats = [&](const std::string& name) {
    for (const float value : FloatsOf(model.tensor(name + ".weight"))) out.F32(value);
  };
  const auto matrix = [&](const std::string& name) {
    if (version < 2) return floats(name);
    const QuantisedGroups groups = QuantiseGroups(FloatsOf(model.tensor(name + ".weight")), group);
    for (const std::int8_t level : groups.levels) out.Number(level);
    for (const float scale : groups.scales) out.F32(scale);
  };
  const auto layers = [&](const char* name, const auto& write) {
    for (std::uint32_t l = 0; l < config.layers; ++l) write("blk." + std::to_string(l) + "." + name);
  };
  if (version > 0) out.U32(0x616B3432).Number(static_cast<std::int32_t>(version));
  for (const std::uint32_t dim : {config.dim, config.ffn_dim, config.layers, config.heads, config.kv_heads}) out.U32(dim);
  const std::int32_t vocab = static_cast<std::int32_t>(config.vocab);
  out.Number(version == 0 && !config.tied_embeddings ? -vocab : vocab).U32(config.context);
  const char* const matrices[] = {"attn_q", "attn_k", "attn_v", "attn_output"};
  const char* const ffn[] = {"ffn_gate", "ffn_down", "ffn_up"};
  if (version == 0) {
    matrix("token_embd");
    layers("attn_norm", floats);
    for (const char* name : matrices) layers(name, matrix);
    layers("ffn_norm", floats);
    for (const char* name : ffn) layers(name, matrix);
    floats("output_norm");
    out.Zeros(config.context * config.head_dim * sizeof(float));  // rotary tables
  } else {
    out.U8(config.tied_embeddings ? 1 : 0);
    if (version == 2) out.Number(static_cast<std::int32_t>(group));
    out.PadTo(256);
    layers("attn_norm", floats);
    layers("ffn_norm", floats);
    floats("output_norm");
    matrix("token_embd");
    for (const char* name : matrices) layers(name, matrix);
    for (const char* name : ffn) layers(name, matrix);
  }
  if (!config.tied_embeddings) matrix("output");
  return out;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_LLAMA2C_EXPORT_HPP_
