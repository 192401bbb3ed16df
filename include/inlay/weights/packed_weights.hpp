// The packed weights buffer: where each tensor is, and the pointers that the layers read it through.
//
// The buffer holds the tensors in the order of their numbers (tensor_roles.hpp), each at a multiple of 64 bytes:
// matrices in the packed layout of kernels/packed_layout.hpp, vectors as float32. Given the configuration and the type
// of each tensor, every offset follows; nothing else is stored.
#ifndef INLAY_WEIGHTS_PACKED_WEIGHTS_HPP_
#define INLAY_WEIGHTS_PACKED_WEIGHTS_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/kernels/packed_layout.hpp"
#include "inlay/weights/tensor_roles.hpp"

INLAY_BEGIN_NAMESPACE

// Bytes of one packed tensor, a multiple of 64.
constexpr std::size_t PackedTensorBytes(const ModelConfig& config, TensorId id, WeightType type) {
  const TensorShape shape = ShapeOf(config, id);
  if (IsVector(id.role)) return ArenaBytes<float>(shape.cols * shape.count);
  return shape.count * RoundUp(PackedBytes(type, shape.rows, shape.cols), kAlignment);
}

// Bytes of the whole buffer. `type_of(TensorId)` gives each tensor's type. The largest size_t, which no buffer has, when
// they cannot be counted: the rules of a configuration bound a tensor by 2^56 bytes, but not the sum of all.
template <class TypeOf>
  requires std::is_invocable_r_v<WeightType, TypeOf&, TensorId>
constexpr std::size_t PackedWeightsBytes(const ModelConfig& config, TypeOf&& type_of) {
  constexpr std::size_t kUncountable = std::numeric_limits<std::size_t>::max();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < TensorCount(config); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id)) continue;
    const std::size_t more = PackedTensorBytes(config, id, type_of(id));
    if (more > kUncountable - bytes) return kUncountable;
    bytes += more;
  }
  return bytes;
}

// Which type each tensor has: one byte per tensor number. Roles that the model lacks, and vectors, are kF32.
using TensorTypes = std::span<const WeightType>;

inline std::size_t PackedWeightsBytes(const ModelConfig& config, TensorTypes types) {
  return PackedWeightsBytes(config, [types](TensorId id) { return types[TensorIndex(id)]; });
}

// One packed matrix, or `count` of them (experts), `stride` bytes apart. Its dimensions come from the spec. Does not own.
struct PackedMatrix {
  const std::byte* data = nullptr;
  std::size_t stride = 0;
  WeightType type = WeightType::kF32;

  const std::byte* expert(std::size_t index) const { return data + index * stride; }
};

namespace detail {
template <TensorForm kForm>
struct BoundTensor {
  using Type = PackedMatrix;
};
template <>
struct BoundTensor<TensorForm::kVector> {
  using Type = const float*;
};
}  // namespace detail

#define INLAY_DETAIL_ROLE(form, role, member, name) detail::BoundTensor<TensorForm::form>::Type member{};
// The tensors of one layer, as pointers into the packed buffer; nullptr for those that it does not have. Shapes: ShapeOf.
// Matrices are PackedMatrix, vectors const float* (of experts: [experts, cols]).
struct LayerWeights {
  INLAY_LAYER_ROLES(INLAY_DETAIL_ROLE)
};

// All weights of a model. The packed buffer and the table of layers outlive it. `output` is the embedding table when tied.
struct ModelWeights {
  INLAY_MODEL_ROLES(INLAY_DETAIL_ROLE)
  std::span<const LayerWeights> layers;
};
#undef INLAY_DETAIL_ROLE

// Points `weights` into a packed buffer. `layers` has config.layers entries. kMismatch when the buffer's size is not what
// configuration and types need, kUnsupported when a type cannot be multiplied with. Cost: the number of tensors.
INLAY_COLD inline Result<ModelWeights> BindPackedWeights(const ModelConfig& config, TensorTypes types,
                                                         std::span<const std::byte> packed, std::span<LayerWeights> layers) {
  if (types.size() != TensorCount(config)) {
    return Fail(ErrorCode::kMismatch, "tensor types", types.size(), " entries, the model has ", TensorCount(config));
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id) || IsVector(id.role)) continue;
    const WeightTypeInfo& info = Info(types[i]);
    const std::size_t cols = ShapeOf(config, id).cols;
    if (!info.multiplies || cols % info.block_values != 0) {
      return Fail(ErrorCode::kUnsupported, TensorName(config, id).view(), "type ", info.name, " cannot hold rows of ", cols);
    }
  }
  const std::size_t needed = PackedWeightsBytes(config, types);
  if (packed.size() != needed) {
    return Fail(ErrorCode::kMismatch, "packed weights", packed.size(), " bytes, the configuration needs ", needed);
  }
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % kAlignment != 0) {
    return Fail(ErrorCode::kInvalidArgument, "packed weights", "must start at a multiple of ", kAlignment, " bytes");
  }

  ModelWeights weights;
  std::fill(layers.begin(), layers.end(), LayerWeights{});
  const std::byte* at = packed.data();
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id)) continue;
    const std::size_t bytes = PackedTensorBytes(config, id, types[i]);
    const PackedMatrix matrix{at, bytes / ShapeOf(config, id).count, types[i]};
    const float* vector = reinterpret_cast<const float*>(at);
    at += bytes;
    const auto bind = [&](auto& tensor) {
      if constexpr (std::is_same_v<std::remove_reference_t<decltype(tensor)>, PackedMatrix>) {
        tensor = matrix;
      } else {
        tensor = vector;
      }
    };
    switch (id.role) {
#define INLAY_DETAIL_ROLE(form, role, member, name) \
  case TensorRole::role: bind(weights.member); break;
      INLAY_MODEL_ROLES(INLAY_DETAIL_ROLE)
#undef INLAY_DETAIL_ROLE
#define INLAY_DETAIL_ROLE(form, role, member, name) \
  case TensorRole::role: bind(layers[id.layer].member); break;
      INLAY_LAYER_ROLES(INLAY_DETAIL_ROLE)
#undef INLAY_DETAIL_ROLE
    }
  }
  if (config.tied_embeddings) weights.output = weights.token_embedding;
  weights.layers = layers;
  return weights;
}

// Checks every tensor's type against the closed list a model type is compiled for, naming tensor, type and list.
template <class FormatList>
Result<void> CheckFormats(const ModelConfig& config, TensorTypes types) {
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id) || IsVector(id.role) || FormatList::Contains(types[i])) continue;
    TextBuffer<96> list;
    for (const WeightType type : FormatList::kList) list.Append(list.empty() ? "" : ", ").Append(Name(type));
    return Fail(ErrorCode::kUnsupported, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(), "type ",
                Name(types[i]), " is not in this model's formats (", list.view(), "); add ", Name(types[i]));
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_PACKED_WEIGHTS_HPP_
