// Random model files of the families whose layers keep a state or attend to latents, in memory and small. As in
// random_model.hpp, keys, names and shapes are spelled out here once more.
#ifndef INLAY_TESTS_SUPPORT_HYBRID_MODELS_HPP_
#define INLAY_TESTS_SUPPORT_HYBRID_MODELS_HPP_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "inlay/config/model_config.hpp"
#include "inlay/formats/codec.hpp"
#include "tests/support/random_model.hpp"

namespace inlay_test {

class HybridFile {
 public:
  HybridFile(std::string architecture, std::uint64_t seed, inlay::WeightType type)
      : architecture_(std::move(architecture)), random_(seed), type_(type) {
    contents.Set("general.architecture", architecture_);
    contents.Set("tokenizer.ggml.model", std::string("no_vocab"));
  }

  template <class T>
  HybridFile& Key(const std::string& name, T value) {
    contents.Set(architecture_ + "." + name, std::move(value));
    return *this;
  }
  // Rows of `cols` values, `gain` times as large as an input's; `dims` are behind the columns.
  void Matrix(const std::string& name, std::uint64_t cols, std::vector<std::uint64_t> dims, float gain = 1.0f) {
    Add(name, cols, std::move(dims), 0.0f, gain / std::sqrt(static_cast<float>(cols)), type_);
  }
  void Vector(const std::string& name, std::vector<std::uint64_t> dims, float center, float deviation) {
    const std::uint64_t cols = dims[0];
    dims.erase(dims.begin());
    Add(name, cols, std::move(dims), center, deviation, inlay::WeightType::kF32);
  }
  void Norm(const std::string& name, std::uint64_t width) { Vector(name, {width}, 1.0f, 0.3f); }

  FileContents contents;

 private:
  void Add(const std::string& name, std::uint64_t cols, std::vector<std::uint64_t> dims, float center, float deviation,
           inlay::WeightType type) {
    std::size_t rows = 1;
    for (const std::uint64_t dim : dims) rows *= dim;
    const std::size_t row_bytes = inlay::RowBytes(type, cols);
    AlignedBytes data(rows * row_bytes);
    std::vector<float> row(cols);
    for (std::size_t r = 0; r < rows; ++r) {
      for (float& value : row) value = center + random_.Symmetric() * (deviation * 1.7320508f);
      inlay::EncodeRow(type, row.data(), cols, &data[r * row_bytes]);
    }
    dims.insert(dims.begin(), cols);
    contents.tensors.push_back({name, static_cast<std::uint32_t>(type), std::move(dims), std::move(data)});
  }

  std::string architecture_;
  Random random_;
  inlay::WeightType type_;
};

// Shapes that the files below share: nothing is a multiple of everything.
struct HybridShape {
  std::uint32_t dim = 48, layers = 4, heads = 6, kv_heads = 2, head_dim = 8, ffn = 80, vocab = 96, context = 700;
  std::uint32_t experts = 0, used = 0, expert_ffn = 0, shared_ffn = 0;
  inlay::WeightType type = inlay::WeightType::kF32;
  std::uint64_t seed = 1;
};

namespace detail {

inline HybridFile Begin(const std::string& architecture, const HybridShape& s) {
  HybridFile file(architecture, s.seed, s.type);
  file.Key("embedding_length", s.dim).Key("block_count", s.layers).Key("attention.head_count", s.heads);
  file.Key("feed_forward_length", s.ffn).Key("context_length", s.context).Key("vocab_size", s.vocab);
  file.Key("attention.layer_norm_rms_epsilon", 1e-6f);
  if (s.experts != 0) {
    file.Key("expert_count", s.experts).Key("expert_used_count", s.used);
    if (s.expert_ffn != 0) file.Key("expert_feed_forward_length", s.expert_ffn);
  }
  file.Matrix("token_embd.weight", s.dim, {s.vocab}, std::sqrt(static_cast<float>(s.dim)));
  return file;
}
inline FileContents End(HybridFile& file, const HybridShape& s, const std::string& norm = "output_norm.weight") {
  file.Norm(norm, s.dim);
  file.Matrix("output.weight", s.dim, {s.vocab}, 3.0f);
  return std::move(file.contents);
}
inline std::string Block(std::uint32_t layer) { return "blk." + std::to_string(layer) + "."; }

inline void FeedForward(HybridFile& file, const HybridShape& s, const std::string& block, bool experts,
                        bool shared_gate = false, bool bias = false, const std::string& norm = "ffn_norm.weight") {
  file.Norm(block + norm, s.dim);
  if (!experts) {
    file.Matrix(block + "ffn_gate.weight", s.dim, {s.ffn}, 1.5f);
    file.Matrix(block + "ffn_up.weight", s.dim, {s.ffn}, 1.5f);
    file.Matrix(block + "ffn_down.weight", s.ffn, {s.dim});
    return;
  }
  const std::uint32_t ffn = s.expert_ffn == 0 ? s.ffn : s.expert_ffn;
  file.Matrix(block + "ffn_gate_inp.weight", s.dim, {s.experts}, 1.5f);
  file.Matrix(block + "ffn_gate_exps.weight", s.dim, {ffn, s.experts}, 1.5f);
  file.Matrix(block + "ffn_up_exps.weight", s.dim, {ffn, s.experts}, 1.5f);
  file.Matrix(block + "ffn_down_exps.weight", ffn, {s.dim, s.experts});
  if (bias) file.Vector(block + "exp_probs_b.bias", {s.experts}, 0.0f, 0.3f);
  if (s.shared_ffn == 0) return;
  file.Matrix(block + "ffn_gate_shexp.weight", s.dim, {s.shared_ffn}, 1.5f);
  file.Matrix(block + "ffn_up_shexp.weight", s.dim, {s.shared_ffn}, 1.5f);
  file.Matrix(block + "ffn_down_shexp.weight", s.shared_ffn, {s.dim});
  if (shared_gate) file.Vector(block + "ffn_gate_inp_shexp.weight", {s.dim}, 0.0f, 0.2f);
}

inline void Attention(HybridFile& file, const HybridShape& s, const std::string& block, bool qk_norm, bool gate = false) {
  const std::uint64_t q = std::uint64_t{s.heads} * s.head_dim, kv = std::uint64_t{s.kv_heads} * s.head_dim;
  file.Matrix(block + "attn_q.weight", s.dim, {gate ? 2 * q : q}, 1.5f);
  file.Matrix(block + "attn_k.weight", s.dim, {kv}, 1.5f);
  file.Matrix(block + "attn_v.weight", s.dim, {kv});
  file.Matrix(block + "attn_output.weight", q, {s.dim});
  if (!qk_norm) return;
  file.Norm(block + "attn_q_norm.weight", s.head_dim);
  file.Norm(block + "attn_k_norm.weight", s.head_dim);
}

}  // namespace detail

// LFM2: layer 2 attends, the others convolve; with experts after the first layer, LFM2-MoE.
inline FileContents Lfm2Model(const HybridShape& s) {
  HybridFile file = detail::Begin(s.experts == 0 ? "lfm2" : "lfm2moe", s);
  std::vector<std::int32_t> kv_heads(s.layers, 0);
  file.Key("shortconv.l_cache", 3u).Key("rope.freq_base", 1e6f).Key("rope.dimension_count", s.head_dim);
  if (s.experts != 0) file.Key("leading_dense_block_count", 1u).Key("expert_gating_func", 2u);
  for (std::uint32_t l = 0; l < s.layers; ++l) {
    const std::string block = detail::Block(l);
    file.Norm(block + "attn_norm.weight", s.dim);
    if (l == 2) {
      kv_heads[l] = static_cast<std::int32_t>(s.kv_heads);
      detail::Attention(file, s, block, true);
    } else {
      file.Vector(block + "shortconv.conv.weight", {3, s.dim}, 0.3f, 0.5f);
      file.Matrix(block + "shortconv.in_proj.weight", s.dim, {3 * std::uint64_t{s.dim}}, 1.2f);
      file.Matrix(block + "shortconv.out_proj.weight", s.dim, {s.dim});
    }
    detail::FeedForward(file, s, block, s.experts != 0 && l != 0, false, true);
  }
  file.Key("attention.head_count_kv", kv_heads);
  return detail::End(file, s, "token_embd_norm.weight");
}

struct LatentShape {
  std::uint32_t rank = 24, query_rank = 20, plain = 10, rope = 6, value = 12;
  std::uint32_t groups = 0, groups_used = 0;
  bool legacy = false;   // keys and values of latents in one tensor
  bool sigmoid = false;  // V3's router
};

// DeepSeek V2 and V3: the first layer is dense.
inline FileContents DeepSeekModel(const HybridShape& s, const LatentShape& a) {
  HybridFile file = detail::Begin("deepseek2", s);
  const std::uint32_t key = a.plain + a.rope;
  file.Key("rope.dimension_count", a.rope).Key("attention.kv_lora_rank", a.rank).Key("leading_dense_block_count", 1u);
  if (a.query_rank != 0) file.Key("attention.q_lora_rank", a.query_rank);
  file.Key("attention.head_count_kv", a.legacy ? s.heads : 1u);
  file.Key("attention.key_length", a.legacy ? key : a.rank + a.rope);
  file.Key("attention.value_length", a.legacy ? a.value : a.rank);
  if (!a.legacy) file.Key("attention.key_length_mla", key).Key("attention.value_length_mla", a.value);
  file.Key("expert_shared_count", 2u).Key("expert_weights_scale", 1.7f);
  if (a.sigmoid) file.Key("expert_gating_func", 2u).Key("expert_weights_norm", true);
  if (a.groups != 0) file.Key("expert_group_count", a.groups).Key("expert_group_used_count", a.groups_used);
  HybridShape shared = s;
  shared.shared_ffn = 2 * s.expert_ffn;
  for (std::uint32_t l = 0; l < s.layers; ++l) {
    const std::string block = detail::Block(l);
    file.Norm(block + "attn_norm.weight", s.dim);
    if (a.query_rank != 0) {
      file.Matrix(block + "attn_q_a.weight", s.dim, {a.query_rank});
      file.Norm(block + "attn_q_a_norm.weight", a.query_rank);
      file.Matrix(block + "attn_q_b.weight", a.query_rank, {std::uint64_t{s.heads} * key}, 1.5f);
    } else {
      file.Matrix(block + "attn_q.weight", s.dim, {std::uint64_t{s.heads} * key}, 1.5f);
    }
    file.Matrix(block + "attn_kv_a_mqa.weight", s.dim, {a.rank + a.rope}, 1.5f);
    file.Norm(block + "attn_kv_a_norm.weight", a.rank);
    if (a.legacy) {
      file.Matrix(block + "attn_kv_b.weight", a.rank, {std::uint64_t{s.heads} * (a.plain + a.value)}, 1.5f);
    } else {
      file.Matrix(block + "attn_k_b.weight", a.plain, {a.rank, s.heads}, 1.2f);
      file.Matrix(block + "attn_v_b.weight", a.rank, {a.value, s.heads});
    }
    file.Matrix(block + "attn_output.weight", std::uint64_t{s.heads} * a.value, {s.dim});
    detail::FeedForward(file, shared, block, s.experts != 0 && l != 0, false, a.sigmoid);
  }
  return detail::End(file, s);
}

struct StateShape {
  std::uint32_t kernel = 4, heads = 6, groups = 3, key_dim = 12, value_dim = 12;
};

// Qwen3-Next (fused beta and alpha) or Qwen 3.5: every third layer attends.
inline FileContents QwenDeltaModel(const std::string& architecture, const HybridShape& s, const StateShape& a) {
  HybridFile file = detail::Begin(architecture, s);
  file.Key("attention.head_count_kv", s.kv_heads).Key("attention.key_length", s.head_dim);
  file.Key("attention.value_length", s.head_dim).Key("rope.freq_base", 1e7f).Key("rope.dimension_count", s.head_dim / 2);
  file.Key("ssm.conv_kernel", a.kernel).Key("ssm.inner_size", a.heads * a.value_dim).Key("ssm.state_size", a.key_dim);
  file.Key("ssm.time_step_rank", a.heads).Key("ssm.group_count", a.groups).Key("full_attention_interval", 3u);
  if (s.shared_ffn != 0) file.Key("expert_shared_feed_forward_length", s.shared_ffn);
  const std::uint64_t inner = std::uint64_t{a.heads} * a.value_dim;
  const std::uint64_t width = inner + 2 * std::uint64_t{a.groups} * a.key_dim;
  for (std::uint32_t l = 0; l < s.layers; ++l) {
    const std::string block = detail::Block(l);
    file.Norm(block + "attn_norm.weight", s.dim);
    if (l % 3 == 2) {
      detail::Attention(file, s, block, true, true);
    } else {
      file.Matrix(block + "attn_qkv.weight", s.dim, {width}, 1.5f);
      file.Matrix(block + "attn_gate.weight", s.dim, {inner}, 1.5f);
      file.Vector(block + "ssm_conv1d.weight", {a.kernel, width}, 0.3f, 0.5f);
      file.Vector(block + "ssm_dt.bias", {a.heads}, 0.0f, 1.0f);
      file.Vector(block + "ssm_a", {a.heads}, -0.5f, 0.2f);
      if (architecture == "qwen3next") {
        file.Matrix(block + "ssm_ba.weight", s.dim, {2 * a.heads}, 1.5f);
      } else {
        file.Matrix(block + "ssm_beta.weight", s.dim, {a.heads}, 1.5f);
        file.Matrix(block + "ssm_alpha.weight", s.dim, {a.heads}, 1.5f);
      }
      file.Norm(block + "ssm_norm.weight", a.value_dim);
      file.Matrix(block + "ssm_out.weight", inner, {s.dim});
    }
    detail::FeedForward(file, s, block, s.experts != 0, true, false, "post_attention_norm.weight");
  }
  return detail::End(file, s);
}

// Granite 4 H (layer 1 attends), or with `pure` Mamba-2 alone, without feed-forward networks.
inline FileContents MambaModel(const HybridShape& s, const StateShape& a, bool pure) {
  HybridShape shape = s;
  if (pure) shape.heads = shape.ffn = 0;
  HybridFile file = detail::Begin(pure ? "mamba2" : "granitehybrid", shape);
  std::vector<std::int32_t> kv_heads(s.layers, 0);
  file.Key("ssm.conv_kernel", a.kernel).Key("ssm.inner_size", a.heads * a.value_dim).Key("ssm.state_size", a.key_dim);
  file.Key("ssm.time_step_rank", a.heads).Key("ssm.group_count", a.groups);
  if (!pure) {
    file.Key("residual_scale", 0.6f).Key("embedding_scale", 1.5f).Key("logit_scale", 1.3f).Key("attention.scale", 0.2f);
    file.Key("rope.scaling.finetuned", false);
    if (s.shared_ffn != 0) file.Key("expert_shared_feed_forward_length", s.shared_ffn);
  }
  const std::uint64_t inner = std::uint64_t{a.heads} * a.value_dim;
  const std::uint64_t width = inner + 2 * std::uint64_t{a.groups} * a.key_dim;
  for (std::uint32_t l = 0; l < s.layers; ++l) {
    const std::string block = detail::Block(l);
    file.Norm(block + "attn_norm.weight", s.dim);
    if (!pure && l == 1) {
      kv_heads[l] = static_cast<std::int32_t>(s.kv_heads);
      detail::Attention(file, s, block, false);
    } else {
      file.Matrix(block + "ssm_in.weight", s.dim, {inner + width + a.heads}, 1.5f);
      file.Vector(block + "ssm_conv1d.weight", {a.kernel, width}, 0.3f, 0.5f);
      file.Vector(block + "ssm_conv1d.bias", {width}, 0.0f, 0.3f);
      file.Vector(block + "ssm_dt.bias", {a.heads}, 0.0f, 1.0f);
      file.Vector(block + "ssm_a", {1, a.heads}, -0.5f, 0.2f);
      file.Vector(block + "ssm_d", {1, a.heads}, 1.0f, 0.3f);
      file.Vector(block + "ssm_norm.weight", {inner / a.groups, a.groups}, 1.0f, 0.3f);
      file.Matrix(block + "ssm_out.weight", inner, {s.dim});
    }
    if (!pure) detail::FeedForward(file, s, block, s.experts != 0);
  }
  if (!pure) file.Key("attention.head_count_kv", kv_heads);
  return detail::End(file, s);
}

inline constexpr HybridShape kMixedShape{.experts = 8, .used = 3, .expert_ffn = 20, .shared_ffn = 28};

struct HybridCase {
  std::string name;
  FileContents file;
};

// One of each of these families, and of each of their forms.
inline std::vector<HybridCase> HybridCases(std::uint64_t seed = 1, inlay::WeightType type = inlay::WeightType::kF32) {
  const auto with = [&](HybridShape s) {
    s.seed = seed;
    s.type = type;
    return s;
  };
  const HybridShape plain = with({}), mixed = with(kMixedShape);
  HybridShape granite = mixed;
  granite.expert_ffn = 0;  // experts are as wide as feed_forward_length says
  return {
      {"lfm2", Lfm2Model(plain)},
      {"lfm2 with experts", Lfm2Model(with({.experts = 5, .used = 2, .expert_ffn = 20}))},
      {"deepseek v3", DeepSeekModel(mixed, {.groups = 4, .groups_used = 2, .sigmoid = true})},
      {"deepseek v2", DeepSeekModel(mixed, {})},
      {"deepseek v2 lite", DeepSeekModel(mixed, {.query_rank = 0})},
      {"deepseek with keys and values in one", DeepSeekModel(mixed, {.legacy = true})},
      {"qwen3next", QwenDeltaModel("qwen3next", mixed, {})},
      {"qwen35", QwenDeltaModel("qwen35", plain, {})},
      {"qwen35, wide heads", QwenDeltaModel("qwen35", plain, {.heads = 4, .groups = 2, .key_dim = 40, .value_dim = 40})},
      {"qwen35 with experts", QwenDeltaModel("qwen35moe", mixed, {})},
      {"granite", MambaModel(plain, {.heads = 6, .groups = 2, .key_dim = 10, .value_dim = 16}, false)},
      {"granite with experts", MambaModel(granite, {.heads = 4, .groups = 1, .key_dim = 18, .value_dim = 25}, false)},
      {"mamba2", MambaModel(plain, {.kernel = 2, .heads = 3, .groups = 1, .key_dim = 30, .value_dim = 140}, true)},
  };
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_SUPPORT_HYBRID_MODELS_HPP_
