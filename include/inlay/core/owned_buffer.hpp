// Memory for hosts that have a heap: one aligned, owned block. A convenience on top of the library, never used inside it.
#ifndef INLAY_CORE_OWNED_BUFFER_HPP_
#define INLAY_CORE_OWNED_BUFFER_HPP_

#include <cstddef>
#include <new>
#include <span>
#include <utility>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"

INLAY_BEGIN_NAMESPACE

// Owns `size` bytes that start at a multiple of kAlignment; uninitialised. Movable, not copyable.
class OwnedBuffer {
 public:
  OwnedBuffer() = default;
  OwnedBuffer(OwnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  OwnedBuffer& operator=(OwnedBuffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~OwnedBuffer() { ::operator delete(data_, std::align_val_t{kAlignment}); }

  // kOutOfMemory when the heap refuses. Never throws.
  static Result<OwnedBuffer> Create(std::size_t size, std::string_view what = "memory") {
    OwnedBuffer buffer;
    if (size != 0) {
      buffer.data_ = static_cast<std::byte*>(::operator new(size, std::align_val_t{kAlignment}, std::nothrow));
      if (buffer.data_ == nullptr) return Fail(ErrorCode::kOutOfMemory, what, "needs ", size, " bytes");
    }
    buffer.size_ = size;
    return buffer;
  }

  std::span<std::byte> bytes() { return {data_, size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_OWNED_BUFFER_HPP_
