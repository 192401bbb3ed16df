// The working memory of one forward pass: every intermediate result has its place before the pass starts.
#ifndef INLAY_LAYERS_SCRATCH_HPP_
#define INLAY_LAYERS_SCRATCH_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/kernels/activations.hpp"
#include "inlay/kernels/attention_plan.hpp"

INLAY_BEGIN_NAMESPACE

// What decides the size of the working memory.
struct ScratchShape {
  std::size_t tokens = 1;   // most tokens of one pass
  std::size_t outputs = 1;  // most positions of one pass whose logits are computed; 0 where a model has none
  std::size_t context = 1;  // most positions of a cache that a pass attends to
  std::size_t threads = 1;  // most threads that attend at once
  ActivationKinds kinds = kActivationFloat;  // what the model's matrices multiply with
  std::size_t adapter_rank = 0;              // most ranks of a sequence's adapters together
};

// Matrices that multiply the same input: queries, keys, values and a gate.
inline constexpr std::size_t kAdapterSlots = 4;

// Mixture of experts only.
struct ExpertScratch {
  float* scores = nullptr;             // [tokens, experts]: the router's output
  std::uint32_t* chosen = nullptr;     // [tokens, experts_per_token], ascending
  float* weights = nullptr;            // [tokens, experts_per_token]
  std::uint32_t* members = nullptr;    // [tokens]: the tokens of the expert at work
  float* member_weights = nullptr;     // [tokens]
  Activations input;                   // [tokens, dim]
  float* output = nullptr;             // [tokens, dim]
  float* sum = nullptr;                // [tokens, dim]: of all experts, where a dense network runs beside them
};

// Inputs of each layer's own only: from the embeddings on, for all layers.
struct LayerInputScratch {
  float* values = nullptr;  // [tokens, layers, layer_input_dim]
  float* table = nullptr;   // [tokens, layers, layer_input_dim]: what each token itself adds
  Activations gated;        // [tokens, layer_input_dim]
};

// Several residual streams only.
struct StreamScratch {
  float* rows = nullptr;    // [streams.count, tokens, dim]
  Activations low;          // [tokens, streams.bypass_rank]
  float* bypass = nullptr;  // [tokens, dim]: what goes past attention
};

// Layers that keep a state only.
struct StateScratch {
  float* input = nullptr;     // [tokens, state_input_dim]: before and after the convolution
  float* gate = nullptr;      // [tokens, state_inner_dim]
  float* decay = nullptr;     // [tokens, state.heads]: what stays of the state
  float* strength = nullptr;  // [tokens, state.heads]: how much of a value is written
};

// Latent attention only.
struct LatentScratch {
  Activations query_low;   // [tokens, query_rank]
  float* queries = nullptr;  // [tokens, heads, latent.head_dim]
  Activations plain;       // [threads * tokens, plain_dim]: one head's queries
  Activations mixed_head;  // [threads * tokens, rank]: one head's results
  float* mixed = nullptr;  // [tokens, heads, rank]: attention's results, in the latent space
};

// Rotary positions of the tokens of a pass.
struct Rotations {
  std::size_t dim = 0;           // rope_dim of the layers that they are for
  float* frequencies = nullptr;  // [dim / 2]: radians per position, filled once
  float* turns = nullptr;        // [tokens, dim]: cos, sin per pair
};

// Whether branches go through memory of their own before they are added to the residual.
constexpr bool NeedsBranch(const ModelConfig& config) {
  return config.norm.placement == NormPlacement::kPost || config.norm.placement == NormPlacement::kSandwich ||
         config.parallel_residual || config.residual_scale != 1.0f;
}

struct Scratch {
  ScratchShape shape;
  float* residual = nullptr;        // [tokens, dim]
  Activations normalized;           // [tokens, dim]; after a pass for embeddings, the last hidden states
  float* branch = nullptr;          // [tokens, dim]: what is added to the residual, where it is not added at once
  float* query = nullptr;           // [tokens, q_dim]
  float* key = nullptr;             // [tokens, k_dim]
  float* value = nullptr;           // [tokens, v_dim]
  Activations mixed;                // [tokens, mixed_dim]: attention's output
  Activations hidden;               // [tokens, max_ffn_dim]: activation(gate) * up
  float* up = nullptr;              // [tokens, max_ffn_dim]: only with gates
  Rotations rotations;              // of all layers, or of those without a window
  Rotations local_rotations;        // of layers with a window, where they rotate otherwise
  float* temperatures = nullptr;    // [tokens]: factors on queries
  std::size_t attention_floats = 0;  // of one thread's part of `attention`
  float* attention = nullptr;       // [threads, attention_floats]
  float* partials = nullptr;        // [kv_heads, spans, group, PartialStride(value_width)]: one token, long context
  float* logits = nullptr;          // [outputs, vocab]
  float* adapter_low = nullptr;     // [kAdapterSlots, tokens, adapter_rank]: the low side of low-rank changes
  ExpertScratch experts;
  StateScratch state;
  LatentScratch latent;
  LayerInputScratch layer_input;
  StreamScratch streams;
  float* query_gate = nullptr;      // [tokens, q_dim]
  // Only with a head behind the pooled vector.
  float* pooled = nullptr;          // [dim]
  float* head_hidden = nullptr;     // [the wider of dim and head.first_dim]
  float* head_row = nullptr;        // the same: a row of a matrix

  // Takes everything from an arena, or counts it.
  template <class Memory>
  static constexpr Result<Scratch> Create(Memory& memory, const ModelConfig& config, const ScratchShape& shape);
};

template <class Memory>
INLAY_COLD constexpr Result<Scratch> Scratch::Create(Memory& memory, const ModelConfig& config, const ScratchShape& shape) {
  Scratch scratch;
  scratch.shape = shape;
  const auto floats = [&memory](float*& to, std::size_t count) -> Result<void> {
    INLAY_ASSIGN_OR_RETURN(const std::span<float> values, memory.template Allocate<float>(count, "scratch"));
    to = values.data();
    return {};
  };
  const std::size_t tokens = shape.tokens;
  INLAY_CHECK_OK(floats(scratch.residual, tokens * config.dim));
  INLAY_ASSIGN_OR_RETURN(scratch.normalized, MakeActivations(memory, shape.kinds, tokens, config.dim));
  if (NeedsBranch(config)) INLAY_CHECK_OK(floats(scratch.branch, tokens * config.dim));
  const ModelConfig local = config.OfLocalLayers();  // the wider kind of layers decides
  INLAY_CHECK_OK(floats(scratch.query, tokens * std::max(config.q_dim(), local.q_dim())));
  INLAY_CHECK_OK(floats(scratch.key, tokens * std::max(config.k_dim(), local.k_dim())));
  if (config.latent.rank == 0) INLAY_CHECK_OK(floats(scratch.value, tokens * std::max(config.v_dim(), local.v_dim())));
  if (config.attention.output_gate) INLAY_CHECK_OK(floats(scratch.query_gate, tokens * config.q_dim()));
  const std::size_t mixed_dim = config.HasStates() ? std::max(config.mixed_dim(), config.state_inner_dim())
                                                   : std::max(config.mixed_dim(), local.mixed_dim());
  INLAY_ASSIGN_OR_RETURN(scratch.mixed, MakeActivations(memory, shape.kinds, tokens, mixed_dim));
  INLAY_ASSIGN_OR_RETURN(scratch.hidden, MakeActivations(memory, shape.kinds, tokens, config.max_ffn_dim()));
  if (config.gated) INLAY_CHECK_OK(floats(scratch.up, tokens * config.max_ffn_dim()));
  for (Rotations* rotations : {&scratch.rotations, &scratch.local_rotations}) {
    if (rotations == &scratch.local_rotations && config.rope.local_base == 0.0f) continue;
    rotations->dim = rotations == &scratch.rotations ? config.rope_dim : local.rope_dim;
    INLAY_CHECK_OK(floats(rotations->turns, tokens * rotations->dim));
    INLAY_CHECK_OK(floats(rotations->frequencies, rotations->dim / 2));
  }
  if (config.attention.temperature != 0.0f) INLAY_CHECK_OK(floats(scratch.temperatures, tokens));
  scratch.attention_floats = std::max(AttentionScratchFloats(config.head_dim, config.value_width()),
                                      AttentionScratchFloats(local.head_dim, local.value_width()));
  INLAY_CHECK_OK(floats(scratch.attention, shape.threads * scratch.attention_floats));
  const std::size_t spans = DivideUp(shape.context, kKvSpan);
  if (spans > 1) {
    std::size_t partials = 0;
    for (const ModelConfig* kind : {&config, &local}) {
      partials = std::max(partials, kind->kv_heads * AttentionPartialFloats(kind->value_width(), kind->group(), spans));
    }
    INLAY_CHECK_OK(floats(scratch.partials, partials));
  }
  if (config.logits) INLAY_CHECK_OK(floats(scratch.logits, shape.outputs * config.vocab));
  if (shape.adapter_rank != 0) INLAY_CHECK_OK(floats(scratch.adapter_low, kAdapterSlots * tokens * shape.adapter_rank));
  if (config.experts != 0) {
    ExpertScratch& experts = scratch.experts;
    const std::size_t choices = tokens * config.experts_per_token;
    INLAY_CHECK_OK(floats(experts.scores, tokens * config.experts));
    INLAY_ASSIGN_OR_RETURN(const auto chosen, memory.template Allocate<std::uint32_t>(choices, "scratch"));
    INLAY_CHECK_OK(floats(experts.weights, choices));
    INLAY_ASSIGN_OR_RETURN(const auto members, memory.template Allocate<std::uint32_t>(tokens, "scratch"));
    INLAY_CHECK_OK(floats(experts.member_weights, tokens));
    INLAY_ASSIGN_OR_RETURN(experts.input, MakeActivations(memory, shape.kinds, tokens, config.dim));
    INLAY_CHECK_OK(floats(experts.output, tokens * config.dim));
    if (config.expert.beside_dense) INLAY_CHECK_OK(floats(experts.sum, tokens * config.dim));
    experts.chosen = chosen.data();
    experts.members = members.data();
  }
  if (config.HasStates()) {
    INLAY_CHECK_OK(floats(scratch.state.input, tokens * config.state_input_dim()));
    INLAY_CHECK_OK(floats(scratch.state.gate, tokens * config.state_inner_dim()));
    INLAY_CHECK_OK(floats(scratch.state.decay, tokens * config.state.heads));
    INLAY_CHECK_OK(floats(scratch.state.strength, tokens * config.state.heads));
  }
  if (config.latent.rank != 0) {
    LatentScratch& latent = scratch.latent;
    const std::size_t rows = shape.threads * tokens;
    INLAY_ASSIGN_OR_RETURN(latent.query_low, MakeActivations(memory, shape.kinds, tokens, config.latent.query_rank));
    INLAY_CHECK_OK(floats(latent.queries, tokens * config.heads * config.latent.head_dim));
    INLAY_ASSIGN_OR_RETURN(latent.plain,
                           MakeActivations(memory, shape.kinds, rows, config.latent.plain_dim(config.rope_dim)));
    INLAY_ASSIGN_OR_RETURN(latent.mixed_head, MakeActivations(memory, shape.kinds, rows, config.latent.rank));
    INLAY_CHECK_OK(floats(latent.mixed, tokens * config.heads * config.latent.rank));
  }
  if (config.head != HeadConfig{}) {
    const std::size_t width = std::max(config.dim, config.head.first_dim);
    INLAY_CHECK_OK(floats(scratch.pooled, config.dim));
    INLAY_CHECK_OK(floats(scratch.head_hidden, width));
    INLAY_CHECK_OK(floats(scratch.head_row, width));
  }
  if (config.layer_input_dim != 0) {
    LayerInputScratch& input = scratch.layer_input;
    INLAY_CHECK_OK(floats(input.values, tokens * config.layers * config.layer_input_dim));
    INLAY_CHECK_OK(floats(input.table, tokens * config.layers * config.layer_input_dim));
    INLAY_ASSIGN_OR_RETURN(input.gated, MakeActivations(memory, shape.kinds, tokens, config.layer_input_dim));
  }
  if (config.streams.count != 0) {
    StreamScratch& streams = scratch.streams;
    INLAY_CHECK_OK(floats(streams.rows, config.streams.count * tokens * config.dim));
    INLAY_ASSIGN_OR_RETURN(streams.low, MakeActivations(memory, shape.kinds, tokens, config.streams.bypass_rank));
    INLAY_CHECK_OK(floats(streams.bypass, tokens * config.dim));
  }
  return scratch;
}

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_SCRATCH_HPP_
