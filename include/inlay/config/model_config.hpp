// ModelConfig: every dimension, constant and structural feature of a model, as a structural type, so that it can be a
// template argument. Layers read features, never a family's name; what a family's features are is in families.hpp.
#ifndef INLAY_CONFIG_MODEL_CONFIG_HPP_
#define INLAY_CONFIG_MODEL_CONFIG_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

// Families, by their enumerator and their name in GGUF's general.architecture. The family decides how keys and tensors of
// a file are called and which features are on by default (families.hpp); nothing that computes reads it.
#define INLAY_ARCHITECTURES(FAMILY)                                                                                \
  FAMILY(kLlama, "llama")       /* Llama 1-3, Mistral 7B, Mixtral, TinyLlama, SmolLM2 */                           \
  FAMILY(kMistral3, "mistral3") /* Ministral 3, Mistral Small 3 */                                                 \
  FAMILY(kLlama4, "llama4")                                                                                        \
  FAMILY(kQwen2, "qwen2")       /* Qwen 2, 2.5 */                                                                  \
  FAMILY(kQwen3, "qwen3")                                                                                          \
  FAMILY(kQwen3Moe, "qwen3moe")                                                                                    \
  FAMILY(kPhi3, "phi3")         /* Phi-3, 3.5, 4 */                                                                \
  FAMILY(kGemma, "gemma")                                                                                          \
  FAMILY(kGemma2, "gemma2")                                                                                        \
  FAMILY(kGemma3, "gemma3")                                                                                        \
  FAMILY(kGemma3n, "gemma3n")                                                                                      \
  FAMILY(kGemma4, "gemma4")                                                                                        \
  FAMILY(kSmolLm3, "smollm3")                                                                                      \
  FAMILY(kOlmo2, "olmo2")       /* OLMo 2, 3 */                                                                    \
  FAMILY(kGranite, "granite")   /* Granite 3, 4 dense */                                                           \
  FAMILY(kGraniteMoe, "granitemoe")                                                                                \
  FAMILY(kGpt2, "gpt2")                                                                                            \
  FAMILY(kGptNeoX, "gptneox")   /* GPT-NeoX, Pythia */                                                             \
  FAMILY(kGptOss, "gpt-oss")                                                                                       \
  FAMILY(kBert, "bert")         /* BERT, MiniLM, BGE, E5 */                                                        \
  FAMILY(kNomicBert, "nomic-bert")                                                                                 \
  FAMILY(kNomicBertMoe, "nomic-bert-moe")                                                                          \
  FAMILY(kModernBert, "modern-bert")                                                                               \
  FAMILY(kGemmaEmbedding, "gemma-embedding")                                                                       \
  FAMILY(kLfm2, "lfm2")                                                                                            \
  FAMILY(kLfm2Moe, "lfm2moe")                                                                                      \
  FAMILY(kDeepSeek2, "deepseek2") /* DeepSeek V2, V3 */                                                            \
  FAMILY(kQwen3Next, "qwen3next")                                                                                  \
  FAMILY(kQwen35, "qwen35")     /* Qwen 3.5 */                                                                     \
  FAMILY(kQwen35Moe, "qwen35moe")                                                                                  \
  FAMILY(kGraniteHybrid, "granitehybrid") /* Granite 4 H */                                                        \
  FAMILY(kMamba2, "mamba2")

enum class Architecture : std::uint8_t {
#define INLAY_DETAIL_FAMILY(enumerator, name) enumerator,
  INLAY_ARCHITECTURES(INLAY_DETAIL_FAMILY)
#undef INLAY_DETAIL_FAMILY
};

constexpr std::string_view Name(Architecture architecture) {
  switch (architecture) {
#define INLAY_DETAIL_FAMILY(enumerator, name) \
  case Architecture::enumerator: return name;
    INLAY_ARCHITECTURES(INLAY_DETAIL_FAMILY)
#undef INLAY_DETAIL_FAMILY
  }
  return "unknown";
}

// Some of a model's layers, as a pattern that repeats: layer l is one of them when bit l % period is set.
struct LayerPattern {
  std::uint32_t period = 0;  // 0: no layer
  std::array<std::uint32_t, 4> bits{};

  static constexpr std::uint32_t kMaxPeriod = 128;

  constexpr bool operator==(const LayerPattern&) const = default;

  constexpr bool Has(std::size_t layer) const {
    if (period == 0) return false;
    const std::size_t at = layer % period;
    return (bits[at / 32] >> (at % 32) & 1u) != 0;
  }
  constexpr LayerPattern& Add(std::size_t layer) {
    bits[layer / 32] |= 1u << (layer % 32);
    return *this;
  }

  static constexpr LayerPattern All() { return LayerPattern{1}.Add(0); }
  // The last, or the first, of every n layers (n <= kMaxPeriod).
  static constexpr LayerPattern LastOf(std::uint32_t n) { return LayerPattern{n}.Add(n - 1); }
  static constexpr LayerPattern FirstOf(std::uint32_t n) { return LayerPattern{n}.Add(0); }
  // All of every n layers but the named ones; none when all are named.
  static constexpr LayerPattern AllBut(std::uint32_t n, std::initializer_list<std::uint32_t> others) {
    LayerPattern pattern{others.size() < n ? n : 0};
    for (std::uint32_t l = 0; l < pattern.period; ++l) {
      if (std::find(others.begin(), others.end(), l) == others.end()) pattern.Add(l);
    }
    return pattern;
  }
  static constexpr LayerPattern AllButLastOf(std::uint32_t n) { return n < 2 ? LayerPattern{} : AllBut(n, {n - 1}); }
};

// How rotary frequencies are changed to reach contexts longer than the training length.
enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,    // positions divided by rope_scale
  kFactors,   // each frequency divided by its own factor from the tensor rope_freqs.weight (Llama 3.1 and later)
  kYarn,      // low frequencies divided by rope_scale, high ones kept, a ramp between (arXiv:2309.00071)
  kLongRope,  // each frequency divided by a factor, of which there are two sets: one for sessions with more positions
              // than rope.original_context, one for all others (arXiv:2402.13753)
};

// Which elements of a head turn together.
enum class RopeStyle : std::uint8_t {
  kPairs,   // 2 i and 2 i + 1
  kHalves,  // i and i + rope_dim / 2
};

// Rotary positions beyond what rope_dim, rope_base, rope_scale and rope_scaling say.
struct RopeConfig {
  LayerPattern unrotated{};         // layers without positions
  std::uint32_t original_context = 0;  // YaRN and LongRoPE: the context before it was extended
  float beta_fast = 32.0f;          // YaRN: frequencies with more turns in original_context are kept
  float beta_slow = 1.0f;           // YaRN: frequencies with fewer turns are divided by rope_scale
  float log_multiplier = 0.0f;      // YaRN: see RopeMagnitude (kernels/rope.hpp); 0: none
  float attention_factor = 1.0f;    // YaRN and LongRoPE: more factor on every rotated query and key
  float local_base = 0.0f;          // layers with a window rotate with this base, unscaled; 0: as all others
  RopeStyle style = RopeStyle::kPairs;

  constexpr bool operator==(const RopeConfig&) const = default;
};

enum class NormKind : std::uint8_t {
  kRms,    // x / sqrt(mean(x^2) + epsilon) * weight
  kLayer,  // (x - mean) / sqrt(variance + epsilon) * weight (+ bias)
};

// Where a layer's two branches (attention and feed-forward) are normalised.
enum class NormPlacement : std::uint8_t {
  kPre,       // x += f(norm(x))
  kPost,      // x += norm(f(x))
  kSandwich,  // x += norm(f(norm(x)))
  kResidual,  // x = norm(x + f(x)); there is no norm after the last layer
};

struct NormConfig {
  NormKind kind = NormKind::kRms;
  NormPlacement placement = NormPlacement::kPre;
  bool bias = false;
  bool embedding = false;        // token embeddings are normalised before the first layer
  bool first_identity = false;   // the first layer's attention reads its input without a norm

  constexpr bool operator==(const NormConfig&) const = default;
};

// Queries and keys are normalised (RMS) before they are compared.
enum class QkNorm : std::uint8_t {
  kNone,
  kHead,        // each head by itself, one weight per element of a head; before the rotation
  kWidth,       // all heads together; before the rotation
  kUnweighted,  // each head by itself, without a weight, after the rotation, in layers that rotate
};

// What a window of `window` positions is.
enum class WindowKind : std::uint8_t {
  kSliding,    // a query at position p sees keys p - window + 1 .. p
  kChunked,    // keys of its own chunk of `window` positions, up to p
  kSymmetric,  // keys p - window / 2 .. p + window / 2
};

struct AttentionConfig {
  LayerPattern global{};      // layers that see everything although there is a window
  float scale = 0.0f;         // factor on every dot product; 0: 1 / sqrt(head_dim)
  float softcap = 0.0f;       // scores become softcap * tanh(score / softcap); 0: none
  // Queries far from the beginning grow: factor 1 + temperature * ln(1 + floor((p + temperature_offset) /
  // temperature_length)). 0: none.
  float temperature = 0.0f;
  float temperature_offset = 0.0f;
  std::uint32_t temperature_length = 0;
  LayerPattern keys_as_values{};       // layers whose values are their keys, before norm and rotation
  std::uint32_t shared_layers = 0;     // so many layers at the end have no keys and values: see KeysFrom
  bool temperature_unrotated = false;  // only in layers without rotary positions
  QkNorm qk_norm = QkNorm::kNone;
  WindowKind window_kind = WindowKind::kSliding;
  bool qkv_bias = false;
  bool output_bias = false;
  bool output_gate = false;  // each element of a head's result is multiplied by sigmoid(w x)
  bool value_norm = false;   // each head's values are normalised (RMS, without a weight)
  bool sinks = false;   // one more score per head, which takes part in the softmax and has no value (arXiv:2309.17453)
  bool causal = true;   // false: every token of a sequence sees all of them; a sequence is read in one pass

  constexpr bool operator==(const AttentionConfig&) const = default;
};

// Layers with a window whose heads have other widths than those of layers that see everything (Gemma 4).
struct LocalConfig {
  std::uint32_t head_dim = 0;  // 0: all layers are alike, and so are the other fields
  std::uint32_t kv_heads = 0;
  std::uint32_t rope_dim = 0;

  constexpr bool operator==(const LocalConfig&) const = default;
};

// Several residual streams (AltUp, arXiv:2301.13310, as in Gemma 3n). A layer predicts all of them as mixtures of each other,
// runs on the first, and corrects all by what its result differs from the prediction.
struct StreamConfig {
  std::uint32_t count = 0;        // 0: there is one stream, without all this
  std::uint32_t bypass_rank = 0;  // width of the low-rank bypass of attention (LAuReL, arXiv:2411.07501)

  constexpr bool operator==(const StreamConfig&) const = default;
};

enum class Activation : std::uint8_t {
  kSilu,         // x sigmoid(x)
  kGelu,         // x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  kGeluErf,      // x / 2 (1 + erf(x / sqrt(2)))
  kReluSquared,  // max(x, 0)^2
  kClampedSilu,  // with gate g and up u: g' = min(g, 7), u' = clamp(u, -7, 7): g' sigmoid(1.702 g') (u' + 1)
};

// Who chooses the experts of a token, and with which weights.
enum class Router : std::uint8_t {
  kSoftmaxOfChosen,  // the best scores; softmax over them
  kSoftmaxOfAll,     // the best scores; softmax over all
  kSigmoid,          // the best scores; sigmoid of each
};

// Mixture of experts beyond `experts` and `experts_per_token`.
struct ExpertConfig {
  std::uint32_t ffn_dim = 0;         // hidden width of one expert; 0: ffn_dim
  std::uint32_t shared_ffn_dim = 0;  // hidden width of the network that every token uses too; 0: there is none
  std::uint32_t leading_dense = 0;   // so many layers at the beginning have one dense network instead
  std::uint32_t step = 1;            // of the others, every step-th has experts: layer l when (l + 1) % step == 0
  std::uint32_t groups = 0;          // experts form groups, of which the best groups_used are considered; 0: no groups
  std::uint32_t groups_used = 0;
  float scale = 1.0f;                // factor on all weights
  Router router = Router::kSoftmaxOfChosen;
  bool normalized = false;           // kSigmoid: weights are divided by their sum
  bool router_bias = false;          // added to the scores
  bool selection_bias = false;       // added to what chooses, not to what weighs
  bool bias = false;                 // of gate, up and down of each expert
  bool scales_input = false;         // the weight multiplies an expert's input instead of its output
  bool shared_gate = false;          // the shared network's output is multiplied by sigmoid(w x)
  bool beside_dense = false;         // the layer's dense network runs too; it, the experts and the router have norms of their own
  bool output_scale = false;         // each expert has a factor on its output

  constexpr bool operator==(const ExpertConfig&) const = default;
};

// Latent attention (DeepSeek-V2, arXiv:2405.04434): keys and values of all heads are linear in one latent vector per
// position, which is what the cache holds. A query is carried over to the latent space, so the model attends with
// kv_heads 1, head_dim rank + rope_dim, value_dim rank; only there the widths of its own heads are these.
struct LatentConfig {
  std::uint32_t rank = 0;        // width of the latent vector; 0: ordinary attention
  std::uint32_t query_rank = 0;  // queries come from a normalised vector of this width; 0: from the layer's input
  std::uint32_t head_dim = 0;    // of a query or key; its last rope_dim elements are rotated, and shared by all heads' keys
  std::uint32_t value_dim = 0;   // of a value
  bool key_rows = false;         // the file has the matrix that makes keys of latents, not its transpose

  constexpr bool operator==(const LatentConfig&) const = default;

  constexpr std::size_t plain_dim(std::size_t rope_dim) const { return head_dim - rope_dim; }  // of what is not rotated
};

// What a layer computes that keeps a state of fixed size instead of keys and values.
enum class StateKind : std::uint8_t {
  kNone,
  kConvolution,  // a short convolution between two gates (LFM2)
  kDelta,        // gated DeltaNet (arXiv:2412.06464)
  kSpace,        // Mamba-2 (arXiv:2405.21060)
};

// kDelta and kSpace: S = decay S + key u^T per head, the result is query^T S. u is a value times a strength; with kDelta the
// value less what the state already has for the key.
struct StateConfig {
  LayerPattern layers{};        // which layers keep a state
  std::uint32_t kernel = 0;     // taps of the causal convolution over the layer's inputs
  std::uint32_t inner_dim = 0;  // width of the values of all heads
  std::uint32_t heads = 0;
  std::uint32_t groups = 0;     // keys and queries, each for heads / groups heads
  std::uint32_t key_dim = 0;    // of a key; the state of a head is [key_dim, inner_dim / heads]
  StateKind kind = StateKind::kNone;
  bool tiled_groups = false;    // head h has keys h % groups; otherwise h / (heads / groups)

  constexpr bool operator==(const StateConfig&) const = default;

  constexpr std::size_t value_dim() const { return heads == 0 ? 0 : inner_dim / heads; }
  constexpr std::size_t group_of(std::size_t head) const {
    return tiled_groups ? head % groups : head / (heads / groups);
  }
};

// How the embedding of a sequence is made of those of its tokens.
enum class Pooling : std::uint8_t {
  kNone,  // the model was not made for embeddings
  kMean,
  kCls,   // the first token
  kLast,  // the last token
  kRank,  // not an embedding but scores, as HeadConfig says
};

// What is behind the pooled vector of a sequence: the head of a classifier or reranker, which makes scores, or projections of
// an embedding.
struct HeadConfig {
  std::uint32_t labels = 0;  // scores; 0: the model has none
  bool label_bias = false;
  bool dense = false;        // a square layer before that, with tanh (or GELU)
  bool dense_bias = false;
  bool gelu = false;
  bool norm = false;         // LayerNorm without a bias behind the square layer
  bool softmax = false;      // scores become probabilities
  Pooling pooling = Pooling::kCls;    // what the scores are made of
  std::uint32_t first_dim = 0;        // embeddings are projected to this width; 0: they are not
  std::uint32_t last_dim = 0;         // and then to this one

  constexpr bool operator==(const HeadConfig&) const = default;
};

// A model's hyperparameters. Aggregate and structural: usable as a constant, a template argument and a value read from
// a file. The first fields are those of GGUF's keys under the field's usual names; the groups are features, all of them off
// (or as in Llama) by default. A new field also goes into INLAY_CONFIG_FIELDS below.
struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::uint32_t dim = 0;       // width of the residual stream (embedding_length)
  std::uint32_t layers = 0;    // block_count
  std::uint32_t heads = 0;     // query heads
  std::uint32_t kv_heads = 0;  // key/value heads; divides heads
  std::uint32_t head_dim = 0;  // width of one head
  std::uint32_t value_dim = 0;  // width of one head's values; 0: head_dim
  std::uint32_t ffn_dim = 0;   // hidden width of the feed-forward network; 0: layers have none
  std::uint32_t vocab = 0;     // tokens
  std::uint32_t context = 0;   // longest context that the model was trained for
  std::uint32_t rope_dim = 0;  // leading dimensions of a head that are rotated; even; 0: no rotary positions
  float rope_base = 10000.0f;
  float rope_scale = 1.0f;
  RopeScaling rope_scaling = RopeScaling::kNone;
  float norm_epsilon = 1e-5f;
  bool tied_embeddings = false;  // the output matrix is the embedding table
  std::uint32_t window = 0;      // positions that a query sees (see WindowKind); 0: all
  // Mixture of experts: feed-forward networks per layer, and how many of them each token uses. 0: one dense network.
  std::uint32_t experts = 0;
  std::uint32_t experts_per_token = 0;

  RopeConfig rope{};
  NormConfig norm{};
  AttentionConfig attention{};
  ExpertConfig expert{};
  LatentConfig latent{};
  StateConfig state{};
  LocalConfig local{};
  StreamConfig streams{};
  std::uint32_t layer_input_dim = 0;  // width of what each layer gets of a token besides the residual stream; 0: nothing
  LayerPattern wide_layers{};         // layers whose dense network has this hidden width instead of ffn_dim
  std::uint32_t wide_ffn_dim = 0;
  // Layers whose gates are cut off, before the activation: g becomes max(0, g - (mean + sparsity * standard deviation)), both
  // over the gates of a token.
  LayerPattern sparse_layers{};
  float sparsity = 0.0f;
  bool layer_scale = false;       // a factor on the residual stream behind each layer
  Activation activation = Activation::kSilu;
  bool gated = true;              // down(activation(gate(x)) * up(x)); false: down(activation(up(x)))
  bool ffn_bias = false;          // of gate, up and down of the dense network
  bool parallel_residual = false;  // attention and feed-forward read the same input and are added together
  bool learned_positions = false;  // a row of a table of `context` rows is added to each token's embedding
  std::uint32_t token_types = 0;   // rows of the table of segment embeddings; the first one is added. 0: there is none
  float embedding_scale = 1.0f;   // factor on token embeddings
  float residual_scale = 1.0f;    // factor on what a branch adds
  float logit_divisor = 1.0f;
  float logit_softcap = 0.0f;     // logits become softcap * tanh(logit / softcap); 0: none
  bool output_bias = false;       // of the output matrix
  bool logits = true;             // false: a model that gives embeddings only
  Pooling pooling = Pooling::kNone;
  HeadConfig head{};

  constexpr bool operator==(const ModelConfig&) const = default;

  constexpr std::size_t value_width() const { return value_dim == 0 ? head_dim : value_dim; }
  constexpr std::size_t q_dim() const { return std::size_t{heads} * head_dim; }
  constexpr std::size_t k_dim() const { return std::size_t{kv_heads} * head_dim; }
  constexpr std::size_t v_dim() const { return std::size_t{kv_heads} * value_width(); }
  // Of attention's result, which the output projection reads.
  constexpr std::size_t mixed_dim() const {
    return std::size_t{heads} * (latent.rank != 0 ? latent.value_dim : value_width());
  }
  constexpr std::size_t group() const { return heads / kv_heads; }  // query heads per key/value head

  constexpr std::size_t expert_ffn_dim() const { return expert.ffn_dim == 0 ? ffn_dim : expert.ffn_dim; }
  constexpr bool HasExperts(std::size_t layer) const {
    return experts != 0 && layer >= expert.leading_dense && (layer + 1) % expert.step == 0;
  }
  // The widest feed-forward network of any layer.
  constexpr std::size_t max_ffn_dim() const {
    return std::max({std::size_t{ffn_dim}, std::size_t{wide_ffn_dim}, experts == 0 ? 0 : expert_ffn_dim(), std::size_t{expert.shared_ffn_dim}});
  }

  constexpr bool HasStates() const { return state.layers.period != 0; }
  constexpr bool KeepsState(std::size_t layer) const { return state.layers.Has(layer); }
  // What a convolution reads, and what a layer's output projection reads.
  constexpr std::size_t state_input_dim() const {
    return state.kind == StateKind::kConvolution ? dim : state.inner_dim + 2 * std::size_t{state.groups} * state.key_dim;
  }
  constexpr std::size_t state_inner_dim() const { return state.kind == StateKind::kConvolution ? dim : state.inner_dim; }
  // Of one layer: the inputs of the last kernel - 1 positions, then [heads][key_dim][value_dim].
  constexpr std::size_t state_floats() const {
    if (!HasStates()) return 0;
    const std::size_t inputs = (state.kernel - std::size_t{1}) * state_input_dim();
    return inputs + (state.kind == StateKind::kConvolution ? 0 : std::size_t{state.inner_dim} * state.key_dim);
  }

  // The same model as its layers with a window see it: their widths are the widths.
  constexpr ModelConfig OfLocalLayers() const {
    ModelConfig config = *this;
    if (local.head_dim == 0) return config;
    config.head_dim = local.head_dim;
    config.kv_heads = local.kv_heads;
    config.rope_dim = local.rope_dim;
    config.local = {};
    return config;
  }
  // Whether a layer attends to another layer's keys and values, and to whose: those of the last layer of its own kind (with a
  // window or without) that has some. `layers` when there is none.
  constexpr bool SharesKeys(std::size_t layer) const { return layer < layers && layer + attention.shared_layers >= layers; }
  constexpr std::size_t KeysFrom(std::size_t layer) const {
    if (!SharesKeys(layer)) return layer;
    for (std::size_t own = layers - attention.shared_layers; own-- != 0;) {
      if (IsLocal(own) == IsLocal(layer)) return own;
    }
    return layers;
  }
  constexpr bool CanShareKeys() const {
    if (attention.shared_layers >= layers) return false;
    for (std::size_t l = layers - attention.shared_layers; l < layers; ++l) {
      if (KeysFrom(l) == layers) return false;
    }
    return true;
  }

  // Of a sequence's embedding, and of what comes out for a kind of pooling.
  constexpr std::size_t embedding_dim() const {
    return head.last_dim != 0 ? head.last_dim : head.first_dim != 0 ? head.first_dim : dim;
  }
  constexpr bool HasScores() const { return head.labels != 0 || head.dense; }
  constexpr std::size_t score_count() const { return head.labels != 0 ? head.labels : head.dense ? dim : 0; }

  // Layers with a window, as a pattern.
  constexpr LayerPattern LocalLayers() const {
    if (window == 0) return {};
    LayerPattern pattern{std::max(1u, attention.global.period)};
    bool any = false;
    for (std::size_t l = 0; l < pattern.period; ++l) {
      if (IsLocal(l)) pattern.Add(l), any = true;
    }
    return any ? pattern : LayerPattern{};
  }
  constexpr bool IsLocal(std::size_t layer) const { return window != 0 && !attention.global.Has(layer); }
  constexpr bool IsRotated(std::size_t layer) const { return rope_dim != 0 && !rope.unrotated.Has(layer); }
  constexpr bool HasPreNorm() const {
    return norm.placement == NormPlacement::kPre || norm.placement == NormPlacement::kSandwich;
  }
  constexpr bool HasPostNorm() const { return norm.placement != NormPlacement::kPre; }
};

// Every field, once: what compares, prints, stores and reads configurations field by field is made from this list.
// (A test notices a field that is missing.)
#define INLAY_CONFIG_FIELDS(FIELD)                                                                                   \
  FIELD(architecture) FIELD(dim) FIELD(layers) FIELD(heads) FIELD(kv_heads) FIELD(head_dim) FIELD(value_dim)          \
  FIELD(ffn_dim) FIELD(vocab) FIELD(context) FIELD(rope_dim) FIELD(rope_base) FIELD(rope_scale) FIELD(rope_scaling)   \
  FIELD(norm_epsilon) FIELD(tied_embeddings) FIELD(window) FIELD(experts) FIELD(experts_per_token)                    \
  FIELD(rope.unrotated) FIELD(rope.original_context) FIELD(rope.beta_fast) FIELD(rope.beta_slow)                      \
  FIELD(rope.log_multiplier) FIELD(rope.attention_factor) FIELD(rope.local_base) FIELD(rope.style)                    \
  FIELD(norm.kind) FIELD(norm.placement) FIELD(norm.bias) FIELD(norm.embedding) FIELD(norm.first_identity)            \
  FIELD(attention.global) FIELD(attention.scale) FIELD(attention.softcap) FIELD(attention.temperature)                \
  FIELD(attention.temperature_offset) FIELD(attention.temperature_length) FIELD(attention.keys_as_values)             \
  FIELD(attention.shared_layers) FIELD(attention.temperature_unrotated)                                               \
  FIELD(attention.qk_norm) FIELD(attention.window_kind) FIELD(attention.qkv_bias) FIELD(attention.output_bias)        \
  FIELD(attention.output_gate) FIELD(attention.value_norm) FIELD(attention.sinks) FIELD(attention.causal)                                       \
  FIELD(expert.ffn_dim) FIELD(expert.shared_ffn_dim) FIELD(expert.leading_dense) FIELD(expert.step)                   \
  FIELD(expert.groups) FIELD(expert.groups_used) FIELD(expert.scale) FIELD(expert.router) FIELD(expert.normalized)    \
  FIELD(expert.router_bias) FIELD(expert.selection_bias) FIELD(expert.bias) FIELD(expert.scales_input)                \
  FIELD(expert.shared_gate) FIELD(expert.beside_dense) FIELD(expert.output_scale)                                     \
  FIELD(latent.rank) FIELD(latent.query_rank) FIELD(latent.head_dim) FIELD(latent.value_dim) FIELD(latent.key_rows)   \
  FIELD(state.layers) FIELD(state.kernel) FIELD(state.inner_dim) FIELD(state.heads) FIELD(state.groups)               \
  FIELD(state.key_dim) FIELD(state.kind) FIELD(state.tiled_groups)                                                    \
  FIELD(local.head_dim) FIELD(local.kv_heads) FIELD(local.rope_dim) FIELD(streams.count) FIELD(streams.bypass_rank)   \
  FIELD(layer_input_dim) FIELD(wide_layers) FIELD(wide_ffn_dim) FIELD(sparse_layers) FIELD(sparsity)                  \
  FIELD(layer_scale)                                                                                                  \
  FIELD(activation) FIELD(gated) FIELD(ffn_bias) FIELD(parallel_residual) FIELD(learned_positions)                    \
  FIELD(token_types) FIELD(embedding_scale) FIELD(residual_scale) FIELD(logit_divisor) FIELD(logit_softcap)           \
  FIELD(output_bias) FIELD(logits) FIELD(pooling)                                                                     \
  FIELD(head.labels) FIELD(head.label_bias) FIELD(head.dense) FIELD(head.dense_bias) FIELD(head.gelu)                 \
  FIELD(head.norm) FIELD(head.softmax) FIELD(head.pooling) FIELD(head.first_dim) FIELD(head.last_dim)

// Limits that keep every product of two dimensions far from overflow, and that no published model comes near.
inline constexpr std::uint32_t kMaxDimension = 1u << 22;
inline constexpr std::uint32_t kMaxLayers = 1u << 12;
inline constexpr std::uint32_t kMaxHeads = 1u << 12;
inline constexpr std::uint32_t kMaxHeadDim = 640;  // latent attention of DeepSeek V3: 512 + 64
inline constexpr std::uint32_t kMaxStateKernel = 16;
inline constexpr std::uint32_t kMaxStreams = 8;
inline constexpr std::uint32_t kMaxContext = 1u << 28;
inline constexpr std::uint32_t kMaxExperts = 1u << 10;

namespace detail {
constexpr bool IsScale(float value) { return value >= -1e6f && value <= 1e6f; }  // false for NaN
constexpr bool IsPositive(float value) { return value >= 1e-6f && value <= 1e6f; }
constexpr bool IsCap(float value) { return value == 0.0f || IsPositive(value); }
}  // namespace detail

// Every rule a configuration must keep, once: RULE(field, message, condition on `c`). Validate turns a broken rule into
// an error value (files), StaticSpec into a failed static_assert with the same words (compile-time configurations).
// Comparisons of floats are written so that NaN breaks the rule.
#define INLAY_CONFIG_RULES(RULE)                                                                                      \
  RULE("dim", "must be 1 .. 2^22", c.dim >= 1 && c.dim <= kMaxDimension)                                              \
  RULE("layers", "must be 1 .. 4096", c.layers >= 1 && c.layers <= kMaxLayers)                                        \
  RULE("heads", "must be 1 .. 4096", c.heads >= 1 && c.heads <= kMaxHeads)                                            \
  RULE("kv_heads", "must be 1 .. heads and divide heads",                                                             \
       c.kv_heads >= 1 && c.kv_heads <= c.heads && c.heads % c.kv_heads == 0)                                         \
  RULE("head_dim", "must be even and 2 .. 640", c.head_dim >= 2 && c.head_dim <= kMaxHeadDim && c.head_dim % 2 == 0)  \
  RULE("value_dim", "must be even and at most 640", c.value_dim <= kMaxHeadDim && c.value_dim % 2 == 0)               \
  RULE("ffn_dim", "must be 1 .. 2^22, or 0 where layers keep states", \
       c.ffn_dim <= kMaxDimension && (c.ffn_dim >= 1 || c.HasStates()))                                                \
  RULE("vocab", "must be 1 .. 2^22", c.vocab >= 1 && c.vocab <= kMaxDimension)                                        \
  RULE("context", "must be 1 .. 2^28", c.context >= 1 && c.context <= kMaxContext)                                    \
  RULE("rope_dim", "must be even and at most head_dim", c.rope_dim <= c.head_dim && c.rope_dim % 2 == 0)              \
  RULE("rope_base", "must be 1 .. 1e12", c.rope_base >= 1.0f && c.rope_base <= 1e12f)                                 \
  RULE("rope_scale", "must be 0.001 .. 1e6", c.rope_scale >= 1e-3f && c.rope_scale <= 1e6f)                           \
  RULE("norm_epsilon", "must be 0 .. 1", c.norm_epsilon >= 0.0f && c.norm_epsilon <= 1.0f)                            \
  RULE("experts", "must be at most 1024", c.experts <= kMaxExperts)                                                   \
  RULE("experts_per_token", "must be 1 .. experts, or 0 without experts",                                             \
       c.experts == 0 ? c.experts_per_token == 0 : c.experts_per_token >= 1 && c.experts_per_token <= c.experts)      \
  RULE("rope.unrotated", "must repeat after at most 128 layers", c.rope.unrotated.period <= LayerPattern::kMaxPeriod)  \
  RULE("rope.original_context", "must be 1 .. 2^28 with YaRN and LongRoPE",                                           \
       c.rope.original_context <= kMaxContext &&                                                                      \
           (c.rope.original_context >= 1 ||                                                                           \
            (c.rope_scaling != RopeScaling::kYarn && c.rope_scaling != RopeScaling::kLongRope)))                      \
  RULE("rope.beta_fast", "must be 1e-6 .. 1e6", detail::IsPositive(c.rope.beta_fast))                                 \
  RULE("rope.beta_slow", "must be 1e-6 .. 1e6", detail::IsPositive(c.rope.beta_slow))                                 \
  RULE("rope.log_multiplier", "must be 0 .. 1e6",                                                                     \
       c.rope.log_multiplier >= 0.0f && c.rope.log_multiplier <= 1e6f)                                                \
  RULE("rope.attention_factor", "must be 1e-6 .. 1e6", detail::IsPositive(c.rope.attention_factor))                   \
  RULE("rope.local_base", "must be 1 .. 1e12, or 0",                                                                  \
       c.rope.local_base == 0.0f || (c.rope.local_base >= 1.0f && c.rope.local_base <= 1e12f))                        \
  RULE("attention.global", "must repeat after at most 128 layers",                                                    \
       c.attention.global.period <= LayerPattern::kMaxPeriod)                                                         \
  RULE("window", "must be at most 2^28", c.window <= kMaxContext)                                                     \
  RULE("attention.window_kind", "a symmetric window needs attention that is not causal, and the others one that is",  \
       c.window == 0 || c.attention.causal == (c.attention.window_kind != WindowKind::kSymmetric))                    \
  RULE("attention.scale", "must be -1e6 .. 1e6", detail::IsScale(c.attention.scale))                                  \
  RULE("attention.softcap", "must be 1e-6 .. 1e6, or 0", detail::IsCap(c.attention.softcap))                          \
  RULE("attention.temperature", "must be -1e6 .. 1e6", detail::IsScale(c.attention.temperature))                      \
  RULE("attention.temperature_offset", "must be 0 .. 1e6",                                                            \
       c.attention.temperature_offset >= 0.0f && c.attention.temperature_offset <= 1e6f)                              \
  RULE("attention.temperature_length", "must be 1 .. 2^28 where there is a temperature",                              \
       c.attention.temperature == 0.0f ||                                                                             \
           (c.attention.temperature_length >= 1 && c.attention.temperature_length <= kMaxContext))                    \
  RULE("norm.bias", "only LayerNorm has one", !c.norm.bias || c.norm.kind == NormKind::kLayer)                        \
  RULE("expert.ffn_dim", "must be at most 2^22", c.expert.ffn_dim <= kMaxDimension)                                   \
  RULE("expert.shared_ffn_dim", "must be at most 2^22", c.expert.shared_ffn_dim <= kMaxDimension)                     \
  RULE("expert.leading_dense", "must be at most layers", c.expert.leading_dense <= c.layers)                          \
  RULE("expert.step", "must be 1 .. 4096", c.expert.step >= 1 && c.expert.step <= kMaxLayers)                         \
  RULE("expert.groups", "must divide experts, and hold at least two each",                                            \
       c.expert.groups <= 1 || (c.experts % c.expert.groups == 0 && c.experts / c.expert.groups >= 2))                \
  RULE("expert.groups_used", "must be 1 .. groups and hold experts_per_token",                                        \
       c.expert.groups <= 1 ||                                                                                        \
           (c.expert.groups_used >= 1 && c.expert.groups_used <= c.expert.groups &&                                   \
            c.experts / c.expert.groups * c.expert.groups_used >= c.experts_per_token))                               \
  RULE("latent.rank", "must be at most 512, and 0 where the other fields of latent are",                              \
       c.latent.rank <= 512 && (c.latent.rank != 0 || c.latent == LatentConfig{}))                                     \
  RULE("latent.query_rank", "must be at most 2^22", c.latent.query_rank <= kMaxDimension)                              \
  RULE("latent.head_dim", "must be more than rope_dim and at most 640",                                                \
       c.latent.rank == 0 || (c.latent.head_dim > c.rope_dim && c.latent.head_dim <= kMaxHeadDim))                     \
  RULE("latent.value_dim", "must be 1 .. 640",                                                                         \
       c.latent.rank == 0 || (c.latent.value_dim >= 1 && c.latent.value_dim <= kMaxHeadDim))                           \
  RULE("latent", "needs kv_heads 1, head_dim rank + rope_dim and value_dim rank",                                      \
       c.latent.rank == 0 ||                                                                                           \
           (c.kv_heads == 1 && c.head_dim == c.latent.rank + c.rope_dim && c.value_width() == c.latent.rank))           \
  RULE("latent", "has neither biases, norms of queries and keys, a gate nor a temperature",                            \
       c.latent.rank == 0 || (!c.attention.qkv_bias && c.attention.qk_norm == QkNorm::kNone &&                         \
                              !c.attention.output_gate && c.attention.temperature == 0.0f))                            \
  RULE("state.layers", "must repeat after at most 128 layers, and be none without a kind",                             \
       c.state.layers.period <= LayerPattern::kMaxPeriod && c.HasStates() == (c.state.kind != StateKind::kNone))       \
  RULE("state.layers", "a layer with a state sees only what was before: needs causal attention",                       \
       !c.HasStates() || c.attention.causal)                                                                           \
  RULE("state.kernel", "must be 2 .. 16 where layers keep states",                                                     \
       !c.HasStates() || (c.state.kernel >= 2 && c.state.kernel <= kMaxStateKernel))                                   \
  RULE("state.heads", "must be 1 .. 4096 and divide state.inner_dim, of 1 .. 2^22",                                    \
       c.state.kind <= StateKind::kConvolution ||                                                                      \
           (c.state.heads >= 1 && c.state.heads <= kMaxHeads && c.state.inner_dim >= 1 &&                              \
            c.state.inner_dim <= kMaxDimension && c.state.inner_dim % c.state.heads == 0))                             \
  RULE("state.groups", "must be 1 .. state.heads and divide state.heads",                                              \
       c.state.kind <= StateKind::kConvolution ||                                                                      \
           (c.state.groups >= 1 && c.state.groups <= c.state.heads && c.state.heads % c.state.groups == 0))             \
  RULE("state.key_dim", "must be 1 .. 512",                                                                            \
       c.state.kind <= StateKind::kConvolution || (c.state.key_dim >= 1 && c.state.key_dim <= 512))                    \
  RULE("expert.scale", "must be -1e6 .. 1e6", detail::IsScale(c.expert.scale))                                        \
  RULE("expert.beside_dense", "needs norms before and behind the branches, and experts that scale their output only",  \
       !c.expert.beside_dense || (c.norm.placement == NormPlacement::kSandwich && !c.norm.bias && c.ffn_dim != 0 &&   \
                                  c.expert.shared_ffn_dim == 0 && !c.expert.scales_input))                            \
  RULE("attention.keys_as_values", "must repeat after at most 128 layers, and needs keys as wide as values",          \
       c.attention.keys_as_values.period <= LayerPattern::kMaxPeriod &&                                               \
           (c.attention.keys_as_values.period == 0 || (c.value_width() == c.head_dim && c.latent.rank == 0)))         \
  RULE("attention.shared_layers", "must leave a layer of each kind with keys of its own",                             \
       c.attention.shared_layers == 0 || c.CanShareKeys())                                                            \
  RULE("attention.shared_layers", "is not for states, latents and norms over all heads",                              \
       c.attention.shared_layers == 0 ||                                                                              \
           (!c.HasStates() && c.latent.rank == 0 && c.attention.qk_norm != QkNorm::kWidth))                           \
  RULE("local", "needs a window, values as wide as keys, and a rope.local_base",                                      \
       c.local == LocalConfig{} || (c.window != 0 && c.value_dim == 0 && !c.HasStates() && c.latent.rank == 0 &&      \
                                    c.attention.qk_norm != QkNorm::kWidth && c.rope.local_base != 0.0f))              \
  RULE("local.head_dim", "must be even and 2 .. 640, or 0 where the other fields of local are",                       \
       (c.local.head_dim != 0 || c.local == LocalConfig{}) && c.local.head_dim % 2 == 0 &&                            \
           c.local.head_dim <= kMaxHeadDim)                                                                           \
  RULE("local.kv_heads", "must be 1 .. heads and divide heads",                                                       \
       c.local.head_dim == 0 ||                                                                                       \
           (c.local.kv_heads >= 1 && c.local.kv_heads <= c.heads && c.heads % c.local.kv_heads == 0))                 \
  RULE("local.rope_dim", "must be even and at most local.head_dim",                                                   \
       c.local.rope_dim <= c.local.head_dim && c.local.rope_dim % 2 == 0)                                             \
  RULE("streams.count", "must be 2 .. 8 with norms before and behind the branches, or 0",                             \
       c.streams.count == 0 ? c.streams.bypass_rank == 0                                                              \
                            : c.streams.count >= 2 && c.streams.count <= kMaxStreams &&                               \
                                  c.norm.placement == NormPlacement::kSandwich && !c.HasStates() &&                   \
                                  c.latent.rank == 0 && c.layer_input_dim != 0)                                       \
  RULE("streams.bypass_rank", "must be 1 .. 2^22 with streams",                                                       \
       c.streams.count == 0 || (c.streams.bypass_rank >= 1 && c.streams.bypass_rank <= kMaxDimension))                \
  RULE("layer_input_dim", "must be at most 2^16, with norms before and behind the branches and gates",                \
       c.layer_input_dim <= 65536 &&                                                                                  \
           (c.layer_input_dim == 0 || (c.norm.placement == NormPlacement::kSandwich && c.gated && !c.norm.bias)))     \
  RULE("wide_layers", "must repeat after at most 128 layers, with a wide_ffn_dim of 1 .. 2^22",                       \
       c.wide_layers.period <= LayerPattern::kMaxPeriod && c.wide_ffn_dim <= kMaxDimension &&                         \
           (c.wide_layers.period == 0) == (c.wide_ffn_dim == 0) && (c.wide_ffn_dim == 0 || c.ffn_dim != 0))           \
  RULE("sparse_layers", "must repeat after at most 128 layers, in networks with gates of two or more",                \
       c.sparse_layers.period <= LayerPattern::kMaxPeriod &&                                                          \
           (c.sparse_layers.period == 0 || (c.gated && c.ffn_dim >= 2)))                                              \
  RULE("sparsity", "must be -1e6 .. 1e6", detail::IsScale(c.sparsity))                                                \
  RULE("activation", "the clamped SwiGLU needs a gate", c.gated || c.activation != Activation::kClampedSilu)          \
  RULE("parallel_residual", "needs norms before the branches only, and no residual scale",                            \
       !c.parallel_residual || (c.norm.placement == NormPlacement::kPre && c.residual_scale == 1.0f))                                               \
  RULE("token_types", "must be at most 2^22", c.token_types <= kMaxDimension)                                         \
  RULE("embedding_scale", "must be -1e6 .. 1e6", detail::IsScale(c.embedding_scale))                                  \
  RULE("residual_scale", "must be -1e6 .. 1e6", detail::IsScale(c.residual_scale))                                    \
  RULE("residual_scale", "is not for norms after the sum",                                                            \
       c.residual_scale == 1.0f || c.norm.placement != NormPlacement::kResidual)                                      \
  RULE("logit_divisor", "must be 1e-6 .. 1e6", detail::IsPositive(c.logit_divisor))                                   \
  RULE("logit_softcap", "must be 1e-6 .. 1e6, or 0", detail::IsCap(c.logit_softcap))                                  \
  RULE("head.labels", "must be at most 2^16", c.head.labels <= 65536)                                                 \
  RULE("head", "has biases and norms only with their layers, and pools vectors",                                      \
       (c.head.labels != 0 || (!c.head.label_bias && !c.head.softmax)) &&                                             \
           (c.head.dense || (!c.head.dense_bias && !c.head.norm)) && c.head.pooling != Pooling::kRank)                \
  RULE("head.first_dim", "must be at most 2^16", c.head.first_dim <= 65536)                                           \
  RULE("head.last_dim", "must be at most 2^16", c.head.last_dim <= 65536)                                             \
  RULE("tied_embeddings", "a model without logits has no output matrix", c.logits || !c.tied_embeddings)              \
  RULE("output_bias", "a model without logits has no output matrix", c.logits || !c.output_bias)

// The first rule that the configuration breaks: kMismatch, naming the field.
INLAY_COLD constexpr Result<void> Validate(const ModelConfig& c) {
#define INLAY_DETAIL_RULE(field, message, condition) \
  if (!(condition)) return Fail(ErrorCode::kMismatch, field, message);
  INLAY_CONFIG_RULES(INLAY_DETAIL_RULE)
#undef INLAY_DETAIL_RULE
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_MODEL_CONFIG_HPP_
