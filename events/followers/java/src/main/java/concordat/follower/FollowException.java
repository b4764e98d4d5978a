package concordat.follower;

/** What was found, what was expected and what to do about it. */
final class FollowException extends RuntimeException {
    private static final long serialVersionUID = 1;

    FollowException(String message) {
        super(message);
    }
}
