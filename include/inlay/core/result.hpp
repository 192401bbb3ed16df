// Result<T>: a value or an Error, for code without exceptions. The members are those of std::expected<T, Error> that
// need no exceptions, so a later switch to std::expected changes no caller.
#ifndef INLAY_CORE_RESULT_HPP_
#define INLAY_CORE_RESULT_HPP_

#include <memory>
#include <type_traits>
#include <utility>

#include "inlay/core/macros.hpp"
#include "inlay/core/status.hpp"

INLAY_BEGIN_NAMESPACE

// Holds a T or an Error. Reading the value of a failed result is a bug of the caller: an assertion in debug builds,
// undefined in release builds (as std::expected's operator*). Moves and copies as T does.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  constexpr Result(T value) : value_(std::move(value)), has_value_(true) {}  // NOLINT: implicit by design
  constexpr Result(const Error& error) : error_(error), has_value_(false) {}  // NOLINT: implicit by design

  constexpr Result(const Result& other)
    requires std::is_copy_constructible_v<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, other.value_);
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  constexpr Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  constexpr Result& operator=(Result other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    std::destroy_at(this);
    std::construct_at(this, std::move(other));
    return *this;
  }
  // Not a second, defaulted destructor for trivial types: Clang 14 cannot choose between two.
  constexpr ~Result() {
    if (has_value_) std::destroy_at(std::addressof(value_));
  }

  constexpr bool has_value() const { return has_value_; }
  constexpr explicit operator bool() const { return has_value_; }

  constexpr T& operator*() & { return Checked(), value_; }
  constexpr const T& operator*() const& { return Checked(), value_; }
  constexpr T&& operator*() && { return Checked(), std::move(value_); }
  constexpr T* operator->() { return Checked(), &value_; }
  constexpr const T* operator->() const { return Checked(), &value_; }

  template <class U>
  constexpr T value_or(U&& fallback) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<U>(fallback));
  }

  constexpr const Error& error() const {
    INLAY_ASSERT(!has_value_);
    return error_;
  }

  // For the macros of macros.hpp.
  constexpr const Error& error_value() const { return error(); }
  constexpr T&& value_unchecked() && { return std::move(value_); }

 private:
  constexpr void Checked() const { INLAY_ASSERT(has_value_); }

  union {
    T value_;
    Error error_;
  };
  bool has_value_;
};

// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  constexpr Result() = default;
  constexpr Result(const Error& error) : error_(error), has_value_(false) {}  // NOLINT: implicit by design

  constexpr bool has_value() const { return has_value_; }
  constexpr explicit operator bool() const { return has_value_; }
  constexpr const Error& error() const {
    INLAY_ASSERT(!has_value_);
    return error_;
  }
  constexpr const Error& error_value() const { return error(); }

 private:
  Error error_;
  bool has_value_ = true;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_RESULT_HPP_
