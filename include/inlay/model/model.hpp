// A model: weights and the forward pass over them. Model<kConfig, Formats> has its dimensions compiled in; AnyModel
// takes them from a file. Both are the same code.
#ifndef INLAY_MODEL_MODEL_HPP_
#define INLAY_MODEL_MODEL_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "inlay/config/config_fields.hpp"
#include "inlay/config/model_config.hpp"
#include "inlay/config/spec.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/finite.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/formats/kv_type.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/layers/batch.hpp"
#include "inlay/layers/sequence_cache.hpp"
#include "inlay/model/forward-inl.hpp"
#include "inlay/model/memory_plan.hpp"
#include "inlay/model/outputs.hpp"
#include "inlay/model/saved_sequence.hpp"
#include "inlay/model/workspace.hpp"
#include "inlay/weights/packed_weights.hpp"
#include "inlay/weights/recipes.hpp"

INLAY_BEGIN_NAMESPACE

namespace detail {

// Memory for the table of layers: inside a static model, handed over by the caller for a dynamic one.
template <class Spec>
struct LayerTable {
  std::span<LayerWeights> entries;
  std::span<LayerWeights> span() { return entries; }
  std::span<const LayerWeights> span() const { return entries; }
};
template <ModelConfig kConfig>
struct LayerTable<StaticSpec<kConfig>> {
  std::array<LayerWeights, kConfig.layers> entries{};
  std::span<LayerWeights> span() { return entries; }
  std::span<const LayerWeights> span() const { return entries; }
};

}  // namespace detail

// The forward pass for the CPU that this file is compiled for. dispatch/model.hpp has one that chooses at run time.
struct StaticForward {
  template <class FormatList, class KvList, class Spec>
  static std::size_t Run(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                         std::size_t tokens, const Scratch& scratch, double magnitude, PassResult result,
                         ExecutorRef executor) {
    return HWY_NAMESPACE::ForwardPass<FormatList, KvList>(spec, weights, sequences, tokens, scratch, magnitude, result,
                                                          executor);
  }
};

// Weights bound to a forward pass. Views the packed buffer; owns nothing on the heap. Const members may be called from
// several threads at once, each with its own workspace and caches.
template <class SpecType, class FormatListType, class KvListType = CommonKvTypes, class ForwardType = StaticForward>
class BasicModel {
 public:
  using Spec = SpecType;
  using FormatList = FormatListType;
  using KvList = KvListType;
  static constexpr bool kIsStatic = Spec::kIsStatic;

  // Binds packed weights (weights/packed_file.hpp, weights/pack.hpp), which must outlive the model.
  // `config` is the file's; it must be the compiled one for a static model. `types` is only read here. A dynamic model
  // keeps its table of layers in `table` (config.layers entries, outliving the model); a static one needs none.
  // Errors: kMismatch (config or sizes), kUnsupported (a type outside FormatList). Cost: the number of tensors.
  INLAY_COLD static Result<BasicModel> Create(const ModelConfig& config, TensorTypes types, std::span<const std::byte> packed,
                                   std::span<LayerWeights> table = {}) {
    INLAY_CHECK_OK(Validate(config));
    BasicModel model(config);
    if constexpr (kIsStatic) {
      INLAY_CHECK_OK(RequireSameModel(Spec::config(), config));
    } else {
      if (table.size() < config.layers) {
        return Fail(ErrorCode::kInvalidArgument, "table", "needs ", config.layers, " entries, has ", table.size());
      }
      model.layers_.entries = table.first(config.layers);
    }
    if (types.size() != TensorCount(config)) {
      return Fail(ErrorCode::kMismatch, "tensor types", types.size(), " entries, the model has ", TensorCount(config));
    }
    INLAY_CHECK_OK(CheckFormats<FormatList>(config, types));
    INLAY_ASSIGN_OR_RETURN(model.weights_, BindPackedWeights(config, types, packed, model.layers_.span()));
    model.weights_.layers = {};  // the table moves with the model: see weights()
    model.packed_ = packed;
    // A static model's memory is planned for the types that its matrices may have.
    model.kinds_ = kIsStatic ? KindsOf(FormatList::kList) : KindsOf(types);
    return model;
  }

  const ModelConfig& config() const { return spec_.config(); }

  // Bytes of a model and a session, known to the compiler. The weights are those of FormatList as a recipe (weights/
  // recipes.hpp). An option that no session could have does not compile.
  static constexpr MemoryPlan Plan(const SessionOptions& options)
    requires kIsStatic
  {
    static_assert(RecipeFits<FormatList>(Spec::config()), "a matrix of this model has rows that are not whole blocks of "
                                                          "the type that the formats give it");
    static_assert(RecipeListsAll<FormatList>(Spec::config()), "a matrix of this model has a type that is not in the list of "
                                                              "formats; see OfEightExperts");
    MemoryPlan plan = *PlanSession(Spec::config(), options, KindsOf(FormatList::kList));
    plan.weights = PackedWeightsBytes(Spec::config(), [](TensorId id) {
      return RecipeType<FormatList>(Spec::config(), id);
    });
    return plan;
  }

  // The same for the weights that were opened.
  Result<MemoryPlan> PlanFor(const SessionOptions& options) const {
    INLAY_ASSIGN_OR_RETURN(MemoryPlan plan, PlanSession(config(), options, kinds_));
    plan.weights = packed_.size();
    return plan;
  }

  // What saved sequences of this model carry (saved_sequence.hpp). Cost: a hash of 64 KiB.
  ModelIdentity identity() const { return IdentityOf(config(), packed_); }

  // Takes plan.kv_cache and plan.scratch bytes from the arena.
  Result<SequenceCache> NewCache(const SessionOptions& options, Arena& arena) const {
    INLAY_CHECK_OK(PlanScratch(config(), options, kinds_));
    INLAY_CHECK_OK(CheckKvType(options.kv));
    return SequenceCache::Create(arena, config(), options.kv, options.ContextFor(config()));
  }
  Result<Workspace> NewWorkspace(const SessionOptions& options, Arena& arena) const {
    INLAY_ASSIGN_OR_RETURN(const ScratchShape shape, PlanScratch(config(), options, kinds_));
    return Workspace::Create(arena, config(), shape, weights_);
  }

  // Runs the new tokens of all sequences, appends them to their caches, and returns the logits asked for, sequence by
  // sequence. The logits of a token depend on nothing but the tokens before it in its own sequence: neither on how a
  // prompt was cut into passes, nor on other sequences, nor on the executor, to the last bit.
  // Errors leave every cache as it was: kInvalidArgument (token id, memory of another model), kContextFull, kTooLarge (beyond the workspace),
  // kNonFinite (weights or activations overflowed). No allocation; the only locks are the executor's.
  Result<LogitsView> Forward(std::span<const SequenceInput> sequences, Workspace& workspace, ExecutorRef executor) const {
    if (!config().logits) {
      return Fail(ErrorCode::kUnsupported, "logits", "this model gives embeddings only; see Embed");
    }
    INLAY_ASSIGN_OR_RETURN(const Counts counts, CheckPass(sequences, workspace));
    const Scratch& scratch = workspace.scratch();
    if (counts.outputs > scratch.shape.outputs) {
      return Fail(ErrorCode::kTooLarge, "outputs", counts.outputs, " in one pass, the workspace is made for ",
                  scratch.shape.outputs);
    }
    const LogitsView logits{scratch.logits, counts.outputs, config().vocab};
    if (counts.tokens == 0) return logits;
    Run(sequences, counts.tokens, workspace, PassResult::kLogits, executor);
    for (std::size_t i = 0; i < counts.outputs * logits.vocab; ++i) {
      if (!IsFinite(scratch.logits[i])) {
        return Fail(ErrorCode::kNonFinite, "logits", "token ", i % logits.vocab,
                    " has no finite score; the weights hold NaN or infinity, or overflow");
      }
    }
    Advance(sequences);
    return logits;
  }

  // The same up to the final norm: the hidden states of the positions asked for (of any number of them), which are what
  // embeddings are made of (model/embedding.hpp).
  Result<HiddenView> Embed(std::span<const SequenceInput> sequences, Workspace& workspace, ExecutorRef executor) const {
    INLAY_ASSIGN_OR_RETURN(const Counts counts, CheckPass(sequences, workspace));
    const Activations& states = workspace.scratch().normalized;
    const HiddenView hidden{states.values, counts.outputs, config().dim, states.stride};
    if (counts.tokens == 0) return hidden;
    Run(sequences, counts.tokens, workspace, PassResult::kHidden, executor);
    for (std::size_t row = 0; row < hidden.rows; ++row) {
      for (const float value : hidden.row(row)) {
        if (!IsFinite(value)) {
          return Fail(ErrorCode::kNonFinite, "hidden state", "of output ", row,
                      " is not finite; the weights hold NaN or infinity, or overflow");
        }
      }
    }
    Advance(sequences);
    return hidden;
  }

  // Which code runs the pass, for models that choose.
  ForwardType& forward() { return forward_; }
  const ForwardType& forward() const { return forward_; }

  // Pointers to every tensor.
  ModelWeights weights() const {
    ModelWeights weights = weights_;
    weights.layers = layers_.span();
    return weights;
  }

 private:
  explicit BasicModel(const ModelConfig& config) : spec_(MakeSpec(config)) {}

  static Spec MakeSpec([[maybe_unused]] const ModelConfig& config) {
    if constexpr (kIsStatic) {
      return Spec{};
    } else {
      return Spec(config);
    }
  }

  static constexpr Result<void> CheckKvType(KvType type) {
    if (KvList::Contains(type)) return {};
    TextBuffer<64> list;
    for (const KvType each : KvList::kList) list.Append(list.empty() ? "" : ", ").Append(Name(each));
    return Fail(ErrorCode::kUnsupported, "kv", "type ", Name(type), " is not in this model's cache types (", list.view(),
                "); add ", Name(type));
  }

  // The representations of activations that any of these types multiplies with.
  static constexpr ActivationKinds KindsOf(TensorTypes types) {
    ActivationKinds kinds = kActivationFloat;
    for (const WeightType type : types) kinds |= ActivationKindOf(type);
    return kinds;
  }

  static constexpr Result<MemoryPlan> PlanSession(const ModelConfig& config, const SessionOptions& options,
                                                  ActivationKinds kinds) {
    INLAY_ASSIGN_OR_RETURN(const ScratchShape shape, PlanScratch(config, options, kinds));
    INLAY_CHECK_OK(CheckKvType(options.kv));
    MemoryPlan plan;
    MemoryCounter cache_bytes, scratch_bytes;
    INLAY_CHECK_OK(SequenceCache::Create(cache_bytes, config, options.kv, shape.context));
    INLAY_CHECK_OK(Scratch::Create(scratch_bytes, config, shape));
    plan.kv_cache = cache_bytes.used();
    plan.scratch = scratch_bytes.used();
    return plan;
  }

  struct Counts {
    std::size_t tokens = 0;
    std::size_t outputs = 0;
  };

  Result<Counts> CheckPass(std::span<const SequenceInput> sequences, const Workspace& workspace) const {
    const Scratch& scratch = workspace.scratch();
    if (workspace.config() != config() || scratch.shape.kinds != kinds_) {
      return Fail(ErrorCode::kInvalidArgument, "workspace", "was made for another model");
    }
    Counts counts;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      INLAY_CHECK_OK(CheckSequence(sequences[i], scratch));
      for (const SequenceInput& other : sequences.first(i)) {
        if (other.cache == sequences[i].cache) return Fail(ErrorCode::kInvalidArgument, "cache", "is that of two sequences");
      }
      counts.tokens += sequences[i].tokens.size();
      counts.outputs += OutputCount(sequences[i]);
    }
    if (counts.tokens > scratch.shape.tokens) {
      return Fail(ErrorCode::kTooLarge, "tokens", counts.tokens, " in one pass, the workspace is made for ",
                  scratch.shape.tokens);
    }
    return counts;
  }

  void Run(std::span<const SequenceInput> sequences, std::size_t tokens, const Workspace& workspace,
           PassResult result, ExecutorRef executor) const {
    forward_.template Run<FormatList, KvList>(spec_, weights(), sequences, tokens, workspace.scratch(),
                                              workspace.rope_magnitude(), result, executor);
  }

  static void Advance(std::span<const SequenceInput> sequences) {
    for (const SequenceInput& sequence : sequences) {
      if (!sequence.tokens.empty()) sequence.cache->Advance(sequence.tokens.size());
    }
  }

  Result<void> CheckAdapters(const Adapters& adapters, const Scratch& scratch) const {
    for (const LoraUse& use : adapters.loras) {
      if (use.adapter == nullptr || !use.adapter->IsFor(config()) || !IsFinite(use.scale)) {
        return Fail(ErrorCode::kInvalidArgument, "adapter", "is null, of another model, or has a scale that is not finite");
      }
    }
    for (const ControlUse& use : adapters.controls) {
      if (use.vector == nullptr || use.vector->dim() != config().dim || !IsFinite(use.scale)) {
        return Fail(ErrorCode::kInvalidArgument, "control vector", "is null, of another model, or has a scale that is not finite");
      }
    }
    if (adapters.rank() <= scratch.shape.adapter_rank) return {};
    return Fail(ErrorCode::kTooLarge, "adapters", "have ranks of ", adapters.rank(), " together, the workspace is made for ",
                scratch.shape.adapter_rank, " (SessionOptions::adapter_rank)");
  }

  Result<void> CheckSequence(const SequenceInput& sequence, const Scratch& scratch) const {
    if (sequence.cache == nullptr) return Fail(ErrorCode::kInvalidArgument, "cache", "is null");
    if (!sequence.cache->IsFor(config())) return Fail(ErrorCode::kInvalidArgument, "cache", "was made for another model");
    INLAY_CHECK_OK(CheckKvType(sequence.cache->type()));
    if (sequence.cache->context() > scratch.shape.context) {
      return Fail(ErrorCode::kTooLarge, "cache", "has ", sequence.cache->context(), " positions, the workspace is made for ",
                  scratch.shape.context);
    }
    if (sequence.tokens.size() > sequence.cache->remaining()) {
      return Fail(ErrorCode::kContextFull, "tokens", sequence.tokens.size(), " new tokens, ", sequence.cache->remaining(),
                  " of ", sequence.cache->context(), " positions left");
    }
    if (sequence.adapters != nullptr) INLAY_CHECK_OK(CheckAdapters(*sequence.adapters, scratch));
    const std::size_t end = sequence.cache->length() + sequence.tokens.size();
    if (config().learned_positions && end > config().context) {
      return Fail(ErrorCode::kContextFull, "tokens", "end at position ", end, ", the model has a table of ",
                  config().context, " positions");
    }
    if (!config().attention.causal && sequence.cache->length() != 0 && !sequence.tokens.empty()) {
      return Fail(ErrorCode::kInvalidArgument, "cache", "is not empty: this model reads a whole sequence in one pass, as "
                  "every token sees all of them; Truncate(0) begins another");
    }
    for (const TokenId token : sequence.tokens) {
      if (token < 0 || static_cast<std::uint32_t>(token) >= config().vocab) {
        return Fail(ErrorCode::kInvalidArgument, "token id", token, " is not in a vocabulary of ", config().vocab);
      }
    }
    return {};
  }

  [[no_unique_address]] Spec spec_;
  [[no_unique_address]] ForwardType forward_;
  ModelWeights weights_;
  detail::LayerTable<Spec> layers_;
  std::span<const std::byte> packed_;
  ActivationKinds kinds_ = kActivationFloat;
};

// A model whose dimensions are compile-time constants: Model<kTinyLlama1_1B, Q4_K_M>. The lists of weight and cache types
// are closed: what is not in them is not compiled, and a typed error.
template <ModelConfig kConfig, class FormatList, class KvList = CommonKvTypes>
using Model = BasicModel<StaticSpec<kConfig>, FormatList, KvList>;

// Any model of a supported architecture, in any supported weight type, with any cache.
using AnyModel = BasicModel<DynamicSpec, AllFormats, AllKvTypes>;

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_MODEL_HPP_
