// Matrices ready to multiply, and memory to work in.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "evident.h"
#include "isa.h"
#include "pool.h"

// Memory on a cache line's border that only ever grows; its contents do not survive growing.
template <class T>
class Buffer {
   public:
    T* at_least(int64_t count) {
        if (count > room_) {
            memory_.reset(static_cast<T*>(::operator new[](static_cast<size_t>(count) * sizeof(T), std::align_val_t{64})));
            room_ = count;
        }
        return memory_.get();
    }
    T* get() const { return memory_.get(); }

   private:
    struct Free {
        void operator()(T* p) const { ::operator delete[](p, std::align_val_t{64}); }
    };
    std::unique_ptr<T[], Free> memory_;
    int64_t room_ = 0;
};

// One row of floats a token.
struct Grid {
    float* data;
    int64_t stride;

    float* operator[](int64_t token) const { return data + token * stride; }
};

// Rows lie a cache line further apart than they are wide: with a power of two between them, the same column of several
// tokens would fall into one set of the cache.
inline Grid grid_of(Buffer<float>& buffer, int64_t tokens, int64_t width) {
    const int64_t stride = (width + 15) / 16 * 16 + 16;
    return {buffer.at_least(tokens * stride), stride};
}

// A linear, or the experts of a layer. It reads the weights where they lie.
class Linear {
   public:
    Linear() = default;
    // sums: also take the sums of the rows, where the instruction set wants them for whole steps.
    Linear(const EvWeight& weight, const Isa& isa, bool sums);
    Linear(Linear&&) = default;
    Linear& operator=(Linear&&) = default;

    explicit operator bool() const { return first_.data != nullptr; }
    const Matrix& matrix() const { return first_; }
    Matrix expert(int64_t index) const;
    const float* bias() const { return bias_; }
    int64_t rows() const { return first_.rows; }
    int64_t cols() const { return first_.cols; }
    int32_t kind() const { return first_.kind; }
    int64_t count() const { return count_; }

   private:
    Matrix first_{};
    int64_t count_ = 0;
    const float* bias_ = nullptr;
    std::vector<int32_t> sums_;
};

// The instruction set of that name; null where the library has no code for it, or this machine cannot run it.
const Isa* find_isa(const char* name);
const Isa& best_isa();
