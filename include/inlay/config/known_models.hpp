// The published shapes of well-known models, for compile-time specialisation and for synthetic benchmark files.
// Sources: each model's config.json on its publisher's page; stories*: the llama2.c checkpoints' headers.
#ifndef INLAY_CONFIG_KNOWN_MODELS_HPP_
#define INLAY_CONFIG_KNOWN_MODELS_HPP_

#include <array>
#include <string_view>

#include "inlay/config/model_config.hpp"
#include "inlay/core/macros.hpp"

INLAY_BEGIN_NAMESPACE

// The model of this repository, examples/tiny/inlay-tiny.gguf.
inline constexpr ModelConfig kInlayTiny{.dim = 128, .layers = 6, .heads = 4, .kv_heads = 2, .head_dim = 32,
                                        .ffn_dim = 384, .vocab = 1024, .context = 512, .rope_dim = 32,
                                        .tied_embeddings = true};
inline constexpr ModelConfig kStories260K{.dim = 64, .layers = 5, .heads = 8, .kv_heads = 4, .head_dim = 8,
                                          .ffn_dim = 172, .vocab = 512, .context = 512, .rope_dim = 8,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kStories15M{.dim = 288, .layers = 6, .heads = 6, .kv_heads = 6, .head_dim = 48,
                                         .ffn_dim = 768, .vocab = 32000, .context = 256, .rope_dim = 48,
                                         .tied_embeddings = true};
inline constexpr ModelConfig kStories42M{.dim = 512, .layers = 8, .heads = 8, .kv_heads = 8, .head_dim = 64,
                                         .ffn_dim = 1376, .vocab = 32000, .context = 1024, .rope_dim = 64,
                                         .tied_embeddings = true};
inline constexpr ModelConfig kStories110M{.dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
                                          .ffn_dim = 2048, .vocab = 32000, .context = 1024, .rope_dim = 64,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kTinyLlama1_1B{.dim = 2048, .layers = 22, .heads = 32, .kv_heads = 4, .head_dim = 64,
                                            .ffn_dim = 5632, .vocab = 32000, .context = 2048, .rope_dim = 64};
inline constexpr ModelConfig kLlama2_7B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 32, .head_dim = 128,
                                        .ffn_dim = 11008, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama2_13B{.dim = 5120, .layers = 40, .heads = 40, .kv_heads = 40, .head_dim = 128,
                                         .ffn_dim = 13824, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama2_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                         .ffn_dim = 28672, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama3_8B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                        .ffn_dim = 14336, .vocab = 128256, .context = 8192, .rope_dim = 128,
                                        .rope_base = 500000.0f};
inline constexpr ModelConfig kLlama3_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                         .ffn_dim = 28672, .vocab = 128256, .context = 8192, .rope_dim = 128,
                                         .rope_base = 500000.0f};
inline constexpr ModelConfig kLlama3_1_8B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                          .ffn_dim = 14336, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors};
inline constexpr ModelConfig kLlama3_1_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                           .ffn_dim = 28672, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                           .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors};
inline constexpr ModelConfig kLlama3_2_1B{.dim = 2048, .layers = 16, .heads = 32, .kv_heads = 8, .head_dim = 64,
                                          .ffn_dim = 8192, .vocab = 128256, .context = 131072, .rope_dim = 64,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kLlama3_2_3B{.dim = 3072, .layers = 28, .heads = 24, .kv_heads = 8, .head_dim = 128,
                                          .ffn_dim = 8192, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors,
                                          .tied_embeddings = true};
// Mistral 7B: v0.2 (v0.1 differs in rope_base 10000 and window 4096; v0.3 in vocab 32768).
inline constexpr ModelConfig kMistral7B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                        .ffn_dim = 14336, .vocab = 32000, .context = 32768, .rope_dim = 128,
                                        .rope_base = 1000000.0f};
inline constexpr ModelConfig kSmolLM2_135M{.dim = 576, .layers = 30, .heads = 9, .kv_heads = 3, .head_dim = 64,
                                           .ffn_dim = 1536, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 100000.0f, .tied_embeddings = true};
inline constexpr ModelConfig kSmolLM2_360M{.dim = 960, .layers = 32, .heads = 15, .kv_heads = 5, .head_dim = 64,
                                           .ffn_dim = 2560, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 100000.0f, .tied_embeddings = true};
inline constexpr ModelConfig kSmolLM2_1_7B{.dim = 2048, .layers = 24, .heads = 32, .kv_heads = 32, .head_dim = 64,
                                           .ffn_dim = 8192, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 130000.0f, .tied_embeddings = true};

struct KnownModel {
  std::string_view name;        // for people and command lines
  std::string_view identifier;  // the constant's name
  const ModelConfig* config;
};

inline constexpr std::array kKnownModels = {
    KnownModel{"inlay-tiny", "kInlayTiny", &kInlayTiny},
    KnownModel{"stories260K", "kStories260K", &kStories260K},
    KnownModel{"stories15M", "kStories15M", &kStories15M},
    KnownModel{"stories42M", "kStories42M", &kStories42M},
    KnownModel{"stories110M", "kStories110M", &kStories110M},
    KnownModel{"tinyllama-1.1b", "kTinyLlama1_1B", &kTinyLlama1_1B},
    KnownModel{"llama-2-7b", "kLlama2_7B", &kLlama2_7B},
    KnownModel{"llama-2-13b", "kLlama2_13B", &kLlama2_13B},
    KnownModel{"llama-2-70b", "kLlama2_70B", &kLlama2_70B},
    KnownModel{"llama-3-8b", "kLlama3_8B", &kLlama3_8B},
    KnownModel{"llama-3-70b", "kLlama3_70B", &kLlama3_70B},
    KnownModel{"llama-3.1-8b", "kLlama3_1_8B", &kLlama3_1_8B},
    KnownModel{"llama-3.1-70b", "kLlama3_1_70B", &kLlama3_1_70B},
    KnownModel{"llama-3.2-1b", "kLlama3_2_1B", &kLlama3_2_1B},
    KnownModel{"llama-3.2-3b", "kLlama3_2_3B", &kLlama3_2_3B},
    KnownModel{"mistral-7b", "kMistral7B", &kMistral7B},
    KnownModel{"smollm2-135m", "kSmolLM2_135M", &kSmolLM2_135M},
    KnownModel{"smollm2-360m", "kSmolLM2_360M", &kSmolLM2_360M},
    KnownModel{"smollm2-1.7b", "kSmolLM2_1_7B", &kSmolLM2_1_7B},
};

// nullptr when no model of that name is known.
constexpr const KnownModel* FindKnownModel(std::string_view name) {
  for (const KnownModel& model : kKnownModels) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_KNOWN_MODELS_HPP_
