// What Hugging Face's model classes are called in GGUF: hyperparameters and tensors, by tables.
// Sources: the configuration and modelling files of transformers, and the names that llama.cpp reads.
#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hf_folder.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;

namespace {

// A tensor of the model, or one of each layer ("{L}"), or one of each expert of each layer ("{E}"), which are stacked.
struct Rule {
  std::string_view hf;
  std::string_view gguf;
  HfTransform transform = HfTransform::kNone;
  bool required = true;
  bool keep_float = false;
};
using Rules = std::vector<Rule>;

constexpr HfTransform kNone = HfTransform::kNone;

void Append(Rules& rules, std::initializer_list<Rule> more) { rules.insert(rules.end(), more); }

// Pre-norm decoder with separate projections; `rotary` is what the query and key rows need, `norm` what norms do.
Rules Decoder(HfTransform rotary, HfTransform norm = kNone) {
  return {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight", norm},
      {"lm_head.weight", "output.weight", kNone, false},
      {"model.layers.{L}.input_layernorm.weight", "blk.{L}.attn_norm.weight", norm},
      {"model.layers.{L}.self_attn.q_proj.weight", "blk.{L}.attn_q.weight", rotary},
      {"model.layers.{L}.self_attn.k_proj.weight", "blk.{L}.attn_k.weight", rotary},
      {"model.layers.{L}.self_attn.v_proj.weight", "blk.{L}.attn_v.weight"},
      {"model.layers.{L}.self_attn.o_proj.weight", "blk.{L}.attn_output.weight"},
  };
}
void AddFeedForward(Rules& rules) {
  Append(rules, {{"model.layers.{L}.mlp.gate_proj.weight", "blk.{L}.ffn_gate.weight"},
                 {"model.layers.{L}.mlp.up_proj.weight", "blk.{L}.ffn_up.weight"},
                 {"model.layers.{L}.mlp.down_proj.weight", "blk.{L}.ffn_down.weight"}});
}
void AddPostNorm(Rules& rules, HfTransform norm = kNone) {
  Append(rules, {{"model.layers.{L}.post_attention_layernorm.weight", "blk.{L}.ffn_norm.weight", norm}});
}
void AddQkNorm(Rules& rules, HfTransform norm = kNone) {
  Append(rules, {{"model.layers.{L}.self_attn.q_norm.weight", "blk.{L}.attn_q_norm.weight", norm},
                 {"model.layers.{L}.self_attn.k_norm.weight", "blk.{L}.attn_k_norm.weight", norm}});
}
// Gemma 2 and 3: a norm before and after each half of a layer.
void AddSandwichNorms(Rules& rules) {
  constexpr HfTransform kNorm = HfTransform::kPlusOne;
  Append(rules, {{"model.layers.{L}.post_attention_layernorm.weight", "blk.{L}.post_attention_norm.weight", kNorm},
                 {"model.layers.{L}.pre_feedforward_layernorm.weight", "blk.{L}.ffn_norm.weight", kNorm},
                 {"model.layers.{L}.post_feedforward_layernorm.weight", "blk.{L}.post_ffw_norm.weight", kNorm}});
}

Rules LlamaRules() {
  Rules rules = Decoder(HfTransform::kRotaryRows);
  AddPostNorm(rules);
  AddFeedForward(rules);
  return rules;
}
Rules MixtralRules() {
  Rules rules = Decoder(HfTransform::kRotaryRows);
  AddPostNorm(rules);
  Append(rules, {{"model.layers.{L}.block_sparse_moe.gate.weight", "blk.{L}.ffn_gate_inp.weight", kNone, true, true},
                 {"model.layers.{L}.block_sparse_moe.experts.{E}.w1.weight", "blk.{L}.ffn_gate_exps.weight"},
                 {"model.layers.{L}.block_sparse_moe.experts.{E}.w3.weight", "blk.{L}.ffn_up_exps.weight"},
                 {"model.layers.{L}.block_sparse_moe.experts.{E}.w2.weight", "blk.{L}.ffn_down_exps.weight"}});
  return rules;
}
Rules Qwen2Rules() {
  Rules rules = Decoder(kNone);
  AddPostNorm(rules);
  AddFeedForward(rules);
  Append(rules, {{"model.layers.{L}.self_attn.q_proj.bias", "blk.{L}.attn_q.bias"},
                 {"model.layers.{L}.self_attn.k_proj.bias", "blk.{L}.attn_k.bias"},
                 {"model.layers.{L}.self_attn.v_proj.bias", "blk.{L}.attn_v.bias"}});
  return rules;
}
Rules Qwen3Rules() {
  Rules rules = Decoder(kNone);
  AddPostNorm(rules);
  AddQkNorm(rules);
  AddFeedForward(rules);
  return rules;
}
Rules Qwen3MoeRules() {
  Rules rules = Decoder(kNone);
  AddPostNorm(rules);
  AddQkNorm(rules);
  Append(rules, {{"model.layers.{L}.mlp.gate.weight", "blk.{L}.ffn_gate_inp.weight", kNone, true, true},
                 {"model.layers.{L}.mlp.experts.{E}.gate_proj.weight", "blk.{L}.ffn_gate_exps.weight"},
                 {"model.layers.{L}.mlp.experts.{E}.up_proj.weight", "blk.{L}.ffn_up_exps.weight"},
                 {"model.layers.{L}.mlp.experts.{E}.down_proj.weight", "blk.{L}.ffn_down_exps.weight"}});
  return rules;
}
Rules GemmaRules() {
  Rules rules = Decoder(kNone, HfTransform::kPlusOne);
  AddPostNorm(rules, HfTransform::kPlusOne);
  AddFeedForward(rules);
  return rules;
}
Rules Gemma2Rules() {
  Rules rules = Decoder(kNone, HfTransform::kPlusOne);
  AddSandwichNorms(rules);
  AddFeedForward(rules);
  return rules;
}
Rules Gemma3Rules() {
  Rules rules = Gemma2Rules();
  AddQkNorm(rules, HfTransform::kPlusOne);
  return rules;
}
Rules Phi3Rules() {
  Rules rules = {
      {"model.embed_tokens.weight", "token_embd.weight"},
      {"model.norm.weight", "output_norm.weight"},
      {"lm_head.weight", "output.weight", kNone, false},
      {"model.layers.{L}.input_layernorm.weight", "blk.{L}.attn_norm.weight"},
      {"model.layers.{L}.self_attn.qkv_proj.weight", "blk.{L}.attn_qkv.weight"},
      {"model.layers.{L}.self_attn.o_proj.weight", "blk.{L}.attn_output.weight"},
      {"model.layers.{L}.mlp.gate_up_proj.weight", "blk.{L}.ffn_up.weight"},
      {"model.layers.{L}.mlp.down_proj.weight", "blk.{L}.ffn_down.weight"},
  };
  AddPostNorm(rules);
  return rules;
}
Rules Gpt2Rules() {
  constexpr HfTransform kTranspose = HfTransform::kTranspose;
  return {
      {"wte.weight", "token_embd.weight"},
      {"wpe.weight", "position_embd.weight", kNone, true, true},
      {"ln_f.weight", "output_norm.weight"},
      {"ln_f.bias", "output_norm.bias"},
      {"lm_head.weight", "output.weight", kNone, false},
      {"h.{L}.ln_1.weight", "blk.{L}.attn_norm.weight"},
      {"h.{L}.ln_1.bias", "blk.{L}.attn_norm.bias"},
      {"h.{L}.attn.c_attn.weight", "blk.{L}.attn_qkv.weight", kTranspose},
      {"h.{L}.attn.c_attn.bias", "blk.{L}.attn_qkv.bias"},
      {"h.{L}.attn.c_proj.weight", "blk.{L}.attn_output.weight", kTranspose},
      {"h.{L}.attn.c_proj.bias", "blk.{L}.attn_output.bias"},
      {"h.{L}.ln_2.weight", "blk.{L}.ffn_norm.weight"},
      {"h.{L}.ln_2.bias", "blk.{L}.ffn_norm.bias"},
      {"h.{L}.mlp.c_fc.weight", "blk.{L}.ffn_up.weight", kTranspose},
      {"h.{L}.mlp.c_fc.bias", "blk.{L}.ffn_up.bias"},
      {"h.{L}.mlp.c_proj.weight", "blk.{L}.ffn_down.weight", kTranspose},
      {"h.{L}.mlp.c_proj.bias", "blk.{L}.ffn_down.bias"},
  };
}

// BERT and its kin; each half of a layer ends with a norm.
Rules BertRules() {
  Rules rules = {
      {"embeddings.word_embeddings.weight", "token_embd.weight"},
      {"embeddings.position_embeddings.weight", "position_embd.weight", kNone, true, true},
      {"embeddings.token_type_embeddings.weight", "token_types.weight", kNone, true, true},
      {"embeddings.LayerNorm.weight", "token_embd_norm.weight"},
      {"embeddings.LayerNorm.bias", "token_embd_norm.bias"},
  };
  Append(rules, {{"encoder.layer.{L}.attention.self.query.weight", "blk.{L}.attn_q.weight"},
                 {"encoder.layer.{L}.attention.self.query.bias", "blk.{L}.attn_q.bias"},
                 {"encoder.layer.{L}.attention.self.key.weight", "blk.{L}.attn_k.weight"},
                 {"encoder.layer.{L}.attention.self.key.bias", "blk.{L}.attn_k.bias"},
                 {"encoder.layer.{L}.attention.self.value.weight", "blk.{L}.attn_v.weight"},
                 {"encoder.layer.{L}.attention.self.value.bias", "blk.{L}.attn_v.bias"},
                 {"encoder.layer.{L}.attention.output.dense.weight", "blk.{L}.attn_output.weight"},
                 {"encoder.layer.{L}.attention.output.dense.bias", "blk.{L}.attn_output.bias"},
                 {"encoder.layer.{L}.attention.output.LayerNorm.weight", "blk.{L}.attn_output_norm.weight"},
                 {"encoder.layer.{L}.attention.output.LayerNorm.bias", "blk.{L}.attn_output_norm.bias"},
                 {"encoder.layer.{L}.intermediate.dense.weight", "blk.{L}.ffn_up.weight"},
                 {"encoder.layer.{L}.intermediate.dense.bias", "blk.{L}.ffn_up.bias"},
                 {"encoder.layer.{L}.output.dense.weight", "blk.{L}.ffn_down.weight"},
                 {"encoder.layer.{L}.output.dense.bias", "blk.{L}.ffn_down.bias"},
                 {"encoder.layer.{L}.output.LayerNorm.weight", "blk.{L}.layer_output_norm.weight"},
                 {"encoder.layer.{L}.output.LayerNorm.bias", "blk.{L}.layer_output_norm.bias"}});
  return rules;
}
// With a classifier: a square layer with tanh, and one row per label.
Rules BertScoreRules() {
  Rules rules = BertRules();
  Append(rules, {{"pooler.dense.weight", "cls.weight"},
                 {"pooler.dense.bias", "cls.bias"},
                 {"classifier.weight", "cls.output.weight"},
                 {"classifier.bias", "cls.output.bias"}});
  return rules;
}
Rules RobertaScoreRules() {
  Rules rules = BertRules();
  Append(rules, {{"classifier.dense.weight", "cls.weight"},
                 {"classifier.dense.bias", "cls.bias"},
                 {"classifier.out_proj.weight", "cls.output.weight"},
                 {"classifier.out_proj.bias", "cls.output.bias"}});
  return rules;
}

struct Family {
  std::string_view hf;    // transformers' class
  std::string_view gguf;  // general.architecture
  Rules (*rules)();
  std::string_view activation;
};

const Family kFamilies[] = {
    {"LlamaForCausalLM", "llama", LlamaRules, "silu"},
    {"MistralForCausalLM", "llama", LlamaRules, "silu"},
    {"MixtralForCausalLM", "llama", MixtralRules, "silu"},
    {"SmolLM3ForCausalLM", "smollm3", LlamaRules, "silu"},
    {"Qwen2ForCausalLM", "qwen2", Qwen2Rules, "silu"},
    {"Qwen3ForCausalLM", "qwen3", Qwen3Rules, "silu"},
    {"Qwen3MoeForCausalLM", "qwen3moe", Qwen3MoeRules, "silu"},
    {"GemmaForCausalLM", "gemma", GemmaRules, "gelu_pytorch_tanh"},
    {"Gemma2ForCausalLM", "gemma2", Gemma2Rules, "gelu_pytorch_tanh"},
    {"Gemma3ForCausalLM", "gemma3", Gemma3Rules, "gelu_pytorch_tanh"},
    {"Gemma3ForConditionalGeneration", "gemma3", Gemma3Rules, "gelu_pytorch_tanh"},
    {"Phi3ForCausalLM", "phi3", Phi3Rules, "silu"},
    {"GPT2LMHeadModel", "gpt2", Gpt2Rules, "gelu_new"},
    {"BertModel", "bert", BertRules, "gelu"},
    {"BertForMaskedLM", "bert", BertRules, "gelu"},
    {"BertForSequenceClassification", "bert", BertScoreRules, "gelu"},
    {"XLMRobertaModel", "bert", BertRules, "gelu"},
    {"XLMRobertaForMaskedLM", "bert", BertRules, "gelu"},
    {"XLMRobertaForSequenceClassification", "bert", RobertaScoreRules, "gelu"},
};

// --- configuration ---

// Reads config.json by key, with the alternatives that families have for the same thing.
class Config {
 public:
  explicit Config(const HfJson& json) : json_(&json) {}

  const HfJson* Find(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      const auto found = json_->find(key);
      if (found != json_->end() && !found->is_null()) return &*found;
    }
    return nullptr;
  }
  bool Has(const char* key) const { return Find({key}) != nullptr; }

  Result<std::uint32_t> Integer(std::initializer_list<const char*> keys) const {
    const HfJson* const value = Find(keys);
    if (value == nullptr) return Fail(ErrorCode::kMissing, *keys.begin(), "config.json has no such key");
    if (!value->is_number_unsigned() || value->get<std::uint64_t>() > 0x7FFFFFFFu) {
      return Fail(ErrorCode::kMismatch, *keys.begin(), "in config.json must be an integer from 0 to 2^31 - 1");
    }
    return value->get<std::uint32_t>();
  }
  Result<std::uint32_t> Integer(std::initializer_list<const char*> keys, std::uint32_t otherwise) const {
    return Find(keys) == nullptr ? Result<std::uint32_t>(otherwise) : Integer(keys);
  }
  Result<float> Number(std::initializer_list<const char*> keys) const {
    const HfJson* const value = Find(keys);
    if (value == nullptr) return Fail(ErrorCode::kMissing, *keys.begin(), "config.json has no such key");
    if (!value->is_number()) return Fail(ErrorCode::kMismatch, *keys.begin(), "in config.json must be a number");
    return value->get<float>();
  }
  Result<float> Number(std::initializer_list<const char*> keys, float otherwise) const {
    return Find(keys) == nullptr ? Result<float>(otherwise) : Number(keys);
  }
  std::string Text(std::initializer_list<const char*> keys, std::string otherwise = "") const {
    const HfJson* const value = Find(keys);
    return value != nullptr && value->is_string() ? value->get<std::string>() : otherwise;
  }
  bool Flag(const char* key, bool otherwise) const {
    const HfJson* const value = Find({key});
    return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
  }
  // An object inside; an empty one where there is none.
  Config Inside(std::initializer_list<const char*> keys) const {
    static const HfJson kEmpty = HfJson::object();
    const HfJson* const value = Find(keys);
    return Config(value != nullptr && value->is_object() ? *value : kEmpty);
  }
  bool empty() const { return json_->empty(); }

 private:
  const HfJson* json_;
};

class Planner {
 public:
  Planner(const HfFolder& folder, const Family& family)
      : folder_(folder), family_(family), config_(folder.config()), prefix_(std::string(family.gguf) + ".") {}

  Result<HfModelPlan> Plan() {
    plan_.architecture = family_.gguf;
    INLAY_CHECK_OK(PutHyperparameters());
    INLAY_CHECK_OK(PlanTensors());
    INLAY_CHECK_OK(CheckLeftOver());
    plan_.metadata.Put(prefix_ + "vocab_size", static_cast<std::uint32_t>(plan_.vocab));
    return std::move(plan_);
  }

 private:
  bool Is(std::string_view gguf) const { return family_.gguf == gguf; }
  template <class T>
  void Put(std::string_view key, T value) {
    plan_.metadata.Put(prefix_ + std::string(key), value);
  }

  Result<void> PutHyperparameters() {
    plan_.metadata.Put("general.architecture", std::string(family_.gguf));
    plan_.metadata.Put("general.name", Name());
    const std::string activation = config_.Text({"hidden_act", "hidden_activation", "activation_function"}, std::string(family_.activation));
    // Gemma's first configurations say "gelu" and mean the tanh form.
    if (activation != family_.activation && !(Is("gemma") && activation == "gelu")) {
      return Fail(ErrorCode::kUnsupported, "hidden_act", "is \"", activation, "\", must be \"", family_.activation, "\"");
    }
    INLAY_ASSIGN_OR_RETURN(dim_, config_.Integer({"hidden_size", "n_embd"}));
    INLAY_ASSIGN_OR_RETURN(layers_, config_.Integer({"num_hidden_layers", "n_layer"}));
    INLAY_ASSIGN_OR_RETURN(heads_, config_.Integer({"num_attention_heads", "n_head"}, Is("gemma3") ? 8 : 0));
    INLAY_ASSIGN_OR_RETURN(kv_heads_, config_.Integer({"num_key_value_heads"}, Is("gemma3") ? 4 : heads_));
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t context,
                           config_.Integer({"max_position_embeddings", "n_positions", "n_ctx"}, Is("gemma3") ? 131072 : 0));
    if (heads_ == 0 || kv_heads_ == 0 || layers_ == 0) return Fail(ErrorCode::kMismatch, "config.json", "has no layers or heads");
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t ffn_dim, config_.Integer({"intermediate_size", "n_inner"}, 4 * dim_));
    if (Is("bert")) INLAY_CHECK_OK(PutEncoder(context));
    Put("context_length", static_cast<std::uint32_t>(context - skipped_positions_));
    Put("embedding_length", dim_);
    Put("block_count", layers_);
    Put("feed_forward_length", ffn_dim);
    Put("attention.head_count", heads_);
    Put("attention.head_count_kv", kv_heads_);
    if (Is("bert")) return {};
    if (Is("gpt2")) {
      INLAY_ASSIGN_OR_RETURN(const float epsilon, config_.Number({"layer_norm_epsilon"}, 1e-5f));
      Put("attention.layer_norm_epsilon", epsilon);
      return {};
    }
    INLAY_ASSIGN_OR_RETURN(const float epsilon, config_.Number({"rms_norm_eps"}, 1e-6f));
    Put("attention.layer_norm_rms_epsilon", epsilon);
    INLAY_ASSIGN_OR_RETURN(head_dim_, config_.Integer({"head_dim"}, Is("gemma3") ? 256 : dim_ / heads_));
    if (head_dim_ != dim_ / heads_ || config_.Has("head_dim")) {
      Put("attention.key_length", head_dim_);
      Put("attention.value_length", head_dim_);
    }
    INLAY_CHECK_OK(PutExperts());
    INLAY_CHECK_OK(PutWindow());
    if (const float cap = config_.Number({"attn_logit_softcapping"}, 0.0f).value_or(0.0f); cap != 0) Put("attn_logit_softcapping", cap);
    if (const float cap = config_.Number({"final_logit_softcapping"}, 0.0f).value_or(0.0f); cap != 0) Put("final_logit_softcapping", cap);
    return PutRope(context);
  }

  Result<void> PutEncoder(std::uint32_t context) {
    if (const std::string positions = config_.Text({"position_embedding_type"}, "absolute"); positions != "absolute") {
      return Fail(ErrorCode::kUnsupported, "position_embedding_type", "is \"", positions, "\", must be \"absolute\"");
    }
    // RoBERTa counts positions from behind the number of its padding token; the rows before are never read.
    if (IsRoberta()) {
      INLAY_ASSIGN_OR_RETURN(const std::uint32_t padding, config_.Integer({"pad_token_id"}, 1));
      skipped_positions_ = padding + 1;
    }
    if (skipped_positions_ >= context) return Fail(ErrorCode::kMismatch, "max_position_embeddings", "in config.json is too small");
    INLAY_ASSIGN_OR_RETURN(const float epsilon, config_.Number({"layer_norm_eps"}, 1e-12f));
    Put("attention.layer_norm_epsilon", epsilon);
    Put("attention.causal", false);
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t types, config_.Integer({"type_vocab_size"}, 2));
    plan_.metadata.Put("tokenizer.ggml.token_type_count", types);
    // GGUF's numbers: 1 the mean, 2 the first token, 3 the last, 4 a head's scores.
    if (family_.hf.ends_with("ForSequenceClassification")) {
      Put("pooling_type", std::uint32_t{4});
      return {};
    }
    INLAY_ASSIGN_OR_RETURN(const std::optional<HfJson> pooling, folder_.OptionalJson("1_Pooling/config.json"));
    if (!pooling || !pooling->is_object()) return {};
    for (const auto& [key, number] : {std::pair{"pooling_mode_mean_tokens", 1u}, {"pooling_mode_cls_token", 2u}, {"pooling_mode_lasttoken", 3u}}) {
      if (Config(*pooling).Flag(key, false)) Put("pooling_type", std::uint32_t{number});
    }
    return {};
  }

  bool IsRoberta() const { return family_.hf.starts_with("XLMRoberta"); }

  std::string Name() const {
    std::string path = folder_.path();
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    return path.substr(path.find_last_of('/') + 1);
  }

  Result<void> PutExperts() {
    INLAY_ASSIGN_OR_RETURN(experts_, config_.Integer({"num_local_experts", "num_experts"}, 0));
    if (experts_ == 0) return {};
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t used, config_.Integer({"num_experts_per_tok"}));
    Put("expert_count", experts_);
    Put("expert_used_count", used);
    if (!Is("qwen3moe")) return {};
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t expert_dim, config_.Integer({"moe_intermediate_size"}));
    Put("expert_feed_forward_length", expert_dim);
    const HfJson* const dense = config_.Find({"mlp_only_layers"});
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t step, config_.Integer({"decoder_sparse_step"}, 1));
    if ((dense != nullptr && !dense->empty()) || step != 1) {
      return Fail(ErrorCode::kUnsupported, "mlp_only_layers", "layers without experts between layers with experts");
    }
    if (!config_.Flag("norm_topk_prob", true)) {
      return Fail(ErrorCode::kUnsupported, "norm_topk_prob", "is false; GGUF's qwen3moe has the experts' weights sum to 1");
    }
    return {};
  }

  Result<void> PutWindow() {
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t window, config_.Integer({"sliding_window"}, 0));
    if (family_.gguf.starts_with("qwen")) {
      if (window != 0 && config_.Flag("use_sliding_window", false)) {
        return Fail(ErrorCode::kUnsupported, "use_sliding_window", "is true; GGUF's ", family_.gguf, " has no window");
      }
      return {};
    }
    if (Is("smollm3")) {
      // GGUF's smollm3 has no positions in every fourth layer.
      const HfJson* const rope = config_.Find({"no_rope_layers"});
      for (std::size_t l = 0; rope != nullptr && l < rope->size(); ++l) {
        if ((*rope)[l] == (l % 4 == 3 ? 0 : 1)) continue;
        return Fail(ErrorCode::kUnsupported, "no_rope_layers", "must be every fourth layer");
      }
      return {};
    }
    // A window of 0 tells Phi-4 from Phi-3.
    if (window != 0 || Is("phi3")) Put("attention.sliding_window", window);
    return {};
  }

  // Newer configurations have one object of all that concerns positions; older ones a base beside a "rope_scaling".
  Result<void> PutRope(std::uint32_t context) {
    Config rope = config_.Inside({"rope_parameters"});
    const Config local = rope.Inside({"sliding_attention"});
    if (rope.Has("full_attention")) rope = config_.Inside({"rope_parameters"}).Inside({"full_attention"});
    const Config scaling = rope.empty() ? config_.Inside({"rope_scaling"}) : rope;
    INLAY_ASSIGN_OR_RETURN(float base, config_.Number({"rope_theta"}, Is("gemma3") ? 1e6f : 10000.0f));
    INLAY_ASSIGN_OR_RETURN(base, rope.Number({"rope_theta"}, base));
    Put("rope.freq_base", base);
    INLAY_ASSIGN_OR_RETURN(float part, config_.Number({"partial_rotary_factor"}, 1.0f));
    INLAY_ASSIGN_OR_RETURN(part, rope.Number({"partial_rotary_factor"}, part));
    const std::uint32_t rope_dim = static_cast<std::uint32_t>(part * static_cast<float>(head_dim_));
    Put("rope.dimension_count", rope_dim);
    if (Is("gemma3")) {
      INLAY_ASSIGN_OR_RETURN(float local_base, config_.Number({"rope_local_base_freq"}, 10000.0f));
      INLAY_ASSIGN_OR_RETURN(local_base, local.Number({"rope_theta"}, local_base));
      Put("rope.freq_base_swa", local_base);
    }
    if (Is("phi3")) {
      INLAY_ASSIGN_OR_RETURN(std::uint32_t original, config_.Integer({"original_max_position_embeddings"}, context));
      INLAY_ASSIGN_OR_RETURN(original, scaling.Integer({"original_max_position_embeddings"}, original));
      Put("rope.scaling.original_context_length", original);
      return PutLongRope(scaling, context, original, rope_dim);
    }
    return PutScaling(scaling, base, rope_dim);
  }

  Result<void> PutScaling(const Config& scaling, float base, std::uint32_t rope_dim) {
    const std::string type = scaling.Text({"rope_type", "type"}, "default");
    if (type == "default") return {};
    if (type == "llama3") return PlanRopeFactors(scaling, base, rope_dim);
    INLAY_ASSIGN_OR_RETURN(const float factor, scaling.Number({"factor"}));
    if (type == "linear" || type == "yarn") {
      Put("rope.scaling.type", type);
      Put("rope.scaling.factor", factor);
      if (type == "linear") return {};
      INLAY_ASSIGN_OR_RETURN(const std::uint32_t original, scaling.Integer({"original_max_position_embeddings"}));
      Put("rope.scaling.original_context_length", original);
      return {};
    }
    return Fail(ErrorCode::kUnsupported, "rope_scaling", "\"", type, "\" is not one of: default, linear, llama3, yarn",
                Is("phi3") ? ", longrope" : "");
  }

  // Frequencies that turn rarely in the original context are divided by the factor, those that turn often stay.
  Result<void> PlanRopeFactors(const Config& scaling, float base, std::uint32_t rope_dim) {
    INLAY_ASSIGN_OR_RETURN(const float factor, scaling.Number({"factor"}));
    INLAY_ASSIGN_OR_RETURN(const float low, scaling.Number({"low_freq_factor"}, 1.0f));
    INLAY_ASSIGN_OR_RETURN(const float high, scaling.Number({"high_freq_factor"}, 4.0f));
    INLAY_ASSIGN_OR_RETURN(const std::uint32_t original, scaling.Integer({"original_max_position_embeddings"}, 8192));
    if (!(high > low) || !(factor > 0)) return Fail(ErrorCode::kMismatch, "rope_scaling", "low_freq_factor must be below high_freq_factor");
    HfTensorPlan tensor{"rope_freqs.weight", {}, HfTransform::kValues, 0, true, {}};
    for (std::uint32_t i = 0; i < rope_dim / 2; ++i) {
      const double frequency = std::pow(static_cast<double>(base), -2.0 * i / rope_dim);
      const double turns = original * frequency / (2.0 * std::numbers::pi);
      const double ramp = std::clamp((turns - static_cast<double>(low)) / static_cast<double>(high - low), 0.0, 1.0);
      tensor.values.push_back(static_cast<float>(1.0 / ((1.0 - ramp) / static_cast<double>(factor) + ramp)));
    }
    plan_.tensors.push_back(std::move(tensor));
    return {};
  }

  Result<void> PutLongRope(const Config& scaling, std::uint32_t context, std::uint32_t original, std::uint32_t rope_dim) {
    const std::string type = scaling.Text({"rope_type", "type"}, "default");
    if (type == "default") return {};
    if (type != "longrope" && type != "su") {
      return Fail(ErrorCode::kUnsupported, "rope_scaling", "\"", type, "\" is not one of: default, longrope");
    }
    if (original == 0) return Fail(ErrorCode::kMismatch, "original_max_position_embeddings", "is 0");
    const double scale = static_cast<double>(context) / original;
    const double factor = scale > 1.0 ? std::sqrt(1.0 + std::log(scale) / std::log(static_cast<double>(original))) : 1.0;
    Put("rope.scaling.type", std::string("longrope"));
    Put("rope.scaling.attn_factor", static_cast<float>(factor));
    for (const auto& [key, name] : {std::pair{"long_factor", "rope_factors_long.weight"}, {"short_factor", "rope_factors_short.weight"}}) {
      const HfJson* const list = scaling.Find({key});
      if (list == nullptr || !list->is_array() || list->size() != rope_dim / 2) {
        return Fail(ErrorCode::kMismatch, key, "in config.json must be a list of ", rope_dim / 2, " numbers");
      }
      HfTensorPlan tensor{name, {}, HfTransform::kValues, 0, true, {}};
      for (const HfJson& value : *list) {
        if (!value.is_number()) return Fail(ErrorCode::kMismatch, key, "in config.json must be a list of numbers");
        tensor.values.push_back(value.get<float>());
      }
      plan_.tensors.push_back(std::move(tensor));
    }
    return {};
  }

  // --- tensors ---

  static std::string Filled(std::string_view pattern, std::string_view mark, std::uint32_t number) {
    std::string text(pattern);
    const std::size_t at = text.find(mark);
    return at == std::string::npos ? text : text.replace(at, mark.size(), std::to_string(number));
  }

  // The tensor of this name, under whatever the whole model is called: part of a larger one, or the bare model.
  const inlay::SafetensorsTensor* Find(const std::string& name) {
    static constexpr std::string_view kPrefixes[] = {"", "language_model.", "transformer.", "model.language_model.", "bert.", "roberta."};
    for (const std::string_view prefix : kPrefixes) {
      std::string full = std::string(prefix) + name;
      if (prefix == "model.language_model." && name.starts_with("model.")) full = std::string(prefix) + name.substr(6);
      const auto found = folder_.tensors().find(full);
      if (found == folder_.tensors().end()) continue;
      used_.insert(found->first);
      return &found->second;
    }
    // What the first BERTs call the weight and the bias of a norm.
    if (name.ends_with("LayerNorm.weight")) return Find(name.substr(0, name.size() - 6) + "gamma");
    if (name.ends_with("LayerNorm.bias")) return Find(name.substr(0, name.size() - 4) + "beta");
    return nullptr;
  }

  Result<void> PlanTensors() {
    for (const Rule& rule : family_.rules()) {
      if (rule.gguf == "output.weight" && SkipsOutput()) continue;
      if (rule.hf.find("{L}") == std::string_view::npos) {
        INLAY_CHECK_OK(PlanTensor(rule, std::string(rule.hf), std::string(rule.gguf)));
        continue;
      }
      for (std::uint32_t l = 0; l < layers_; ++l) {
        INLAY_CHECK_OK(PlanTensor(rule, Filled(rule.hf, "{L}", l), Filled(rule.gguf, "{L}", l)));
      }
    }
    return {};
  }

  // Tied: the output matrix is the embedding table, also where the files hold it twice.
  bool SkipsOutput() {
    const bool gemma = family_.gguf.starts_with("gemma");
    if (!config_.Flag("tie_word_embeddings", gemma || Is("gpt2"))) return false;
    (void)Find("lm_head.weight");  // used, in a sense
    return true;
  }

  Result<void> PlanTensor(const Rule& rule, const std::string& hf, const std::string& gguf) {
    const bool stacked = hf.find("{E}") != std::string::npos;
    HfTensorPlan tensor{gguf, {}, rule.transform, 0, rule.keep_float, {}};
    for (std::uint32_t e = 0; e < (stacked ? experts_ : 1); ++e) {
      const std::string name = Filled(hf, "{E}", e);
      const inlay::SafetensorsTensor* const part = Find(name);
      if (part == nullptr && !rule.required && !config_.Has("tie_word_embeddings")) return {};
      if (part == nullptr) return Fail(ErrorCode::kMissing, name, "the folder has no such tensor (", gguf, ")");
      INLAY_CHECK_OK(CheckPart(*part, tensor));
      tensor.parts.push_back(*part);
    }
    if (gguf == "position_embd.weight" && skipped_positions_ != 0) {
      inlay::SafetensorsTensor& table = tensor.parts[0];
      if (table.dims[0] <= skipped_positions_) return Fail(ErrorCode::kMismatch, hf, "has ", table.dims[0], " rows, too few");
      table.data = table.data.subspan(table.data.size() / static_cast<std::size_t>(table.dims[0]) * skipped_positions_);
      table.dims[0] -= skipped_positions_;
    }
    if (gguf == "token_embd.weight") plan_.vocab = static_cast<std::size_t>(tensor.parts[0].dims[0]);
    if (rule.transform == HfTransform::kRotaryRows) {
      tensor.heads = gguf.ends_with("attn_q.weight") ? heads_ : kv_heads_;
      const std::uint64_t rows = tensor.parts[0].dims[0];
      if (rows % tensor.heads != 0 || rows / tensor.heads % 2 != 0) {
        return Fail(ErrorCode::kMismatch, hf, "its ", rows, " rows are not ", tensor.heads, " heads of an even size");
      }
    }
    plan_.tensors.push_back(std::move(tensor));
    return {};
  }

  static Result<void> CheckPart(const inlay::SafetensorsTensor& part, const HfTensorPlan& tensor) {
    using Type = inlay::SafetensorsType;
    const bool is_float = part.type != nullptr && (part.type->type == Type::kF32 || part.type->type == Type::kF16 ||
                                                   part.type->type == Type::kBF16 || part.type->type == Type::kF64);
    if (!is_float) {
      return Fail(ErrorCode::kUnsupported, part.name, "has type ", part.type_name, "; F64, F32, F16 and BF16 are converted");
    }
    const bool vector = tensor.name.ends_with(".bias") || tensor.name.find("norm") != std::string::npos;
    if (part.n_dims != (vector ? 1u : 2u) || part.data.empty()) {
      return Fail(ErrorCode::kMismatch, part.name, "has ", part.n_dims, " dimensions, must have ", vector ? 1 : 2, ", none of them 0");
    }
    if (!tensor.parts.empty() && (part.dims != tensor.parts[0].dims || part.type != tensor.parts[0].type)) {
      return Fail(ErrorCode::kMismatch, part.name, "is of another shape or type than the first expert's");
    }
    return {};
  }

  Result<void> CheckLeftOver() const {
    for (const auto& [name, tensor] : folder_.tensors()) {
      if (used_.contains(name)) continue;
      // Tables that can be computed, masks, and the parts of a larger model that are not about text.
      if (name.ends_with(".rotary_emb.inv_freq") || (Is("gpt2") && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))) ||
          name.find("vision_tower.") != std::string::npos || name.find("multi_modal_projector.") != std::string::npos ||
          (Is("bert") && IsOfTraining(name))) {
        continue;
      }
      return Fail(ErrorCode::kMismatch, name, "is not a tensor of ", family_.hf, " with ", layers_, " layers as GGUF's ", family_.gguf,
                  " has them");
    }
    return {};
  }

  // What an encoder was trained with, and numbers of positions.
  static bool IsOfTraining(std::string_view name) {
    for (const std::string_view prefix : {"bert.", "roberta."}) {
      if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
    }
    return name == "embeddings.position_ids" || name.starts_with("cls.predictions.") || name.starts_with("cls.seq_relationship.") ||
           name.starts_with("lm_head.") || name.starts_with("pooler.dense.");
  }

  const HfFolder& folder_;
  const Family& family_;
  Config config_;
  std::string prefix_;
  HfModelPlan plan_;
  std::set<std::string, std::less<>> used_;
  std::uint32_t dim_ = 0, layers_ = 0, heads_ = 0, kv_heads_ = 0, head_dim_ = 0, experts_ = 0;
  std::uint32_t skipped_positions_ = 0;  // rows of the table of positions that no token reads
};

}  // namespace

std::string HfArchitectures() {
  std::string text;
  for (const Family& family : kFamilies) text += (text.empty() ? "" : ", ") + std::string(family.hf);
  return text;
}

Result<HfModelPlan> PlanHfModel(const HfFolder& folder) {
  for (const Family& family : kFamilies) {
    if (family.hf == folder.architecture()) return Planner(folder, family).Plan();
  }
  return Fail(ErrorCode::kUnsupported, "architectures", "\"", folder.architecture(), "\" is not one that is converted; see inlay convert --help");
}

}  // namespace cli
