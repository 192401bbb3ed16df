// Low-rank adapters and control vectors from files, owning their memory, on a machine with files and a heap.
#ifndef INLAY_HOST_OWNED_ADAPTER_HPP_
#define INLAY_HOST_OWNED_ADAPTER_HPP_

#include <cstddef>
#include <optional>
#include <utility>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/weights/adapter.hpp"

INLAY_BEGIN_NAMESPACE

// Movable; a LoraUse points to lora(), so the object stays where it is while there are any.
class OwnedLora {
 public:
  // Errors: those of MappedGguf::Open and LoraAdapter::Create, kOutOfMemory.
  static Result<OwnedLora> Open(const char* path, const ModelConfig& config) {
    INLAY_ASSIGN_OR_RETURN(const MappedGguf file, MappedGguf::Open(path));
    OwnedLora owned;
    INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, LoraAdapter::MemoryBytes(config, *file.file()));
    INLAY_ASSIGN_OR_RETURN(owned.memory_, OwnedBuffer::Create(bytes, "adapter"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(owned.memory_.bytes()));
    INLAY_ASSIGN_OR_RETURN(owned.lora_, LoraAdapter::Create(config, *file.file(), arena));
    return owned;
  }

  const LoraAdapter& lora() const { return *lora_; }

 private:
  OwnedLora() = default;

  OwnedBuffer memory_;
  std::optional<LoraAdapter> lora_;
};

// The same for a control vector.
class OwnedControlVector {
 public:
  // Errors: those of MappedGguf::Open and ControlVector::Open.
  static Result<OwnedControlVector> Open(const char* path, const ModelConfig& config) {
    OwnedControlVector owned;
    INLAY_ASSIGN_OR_RETURN(owned.file_, MappedGguf::Open(path));
    INLAY_ASSIGN_OR_RETURN(owned.vector_, ControlVector::Open(config, *owned.file_.file()));
    return owned;
  }

  const ControlVector& vector() const { return *vector_; }

 private:
  OwnedControlVector() = default;

  MappedGguf file_;
  std::optional<ControlVector> vector_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_OWNED_ADAPTER_HPP_
